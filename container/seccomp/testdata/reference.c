// Makes a filter with libseccomp, or tells its numbers of system calls.
//
//	reference filter < rules > bpf     lines "default A", "arch T", "drop T" (before rules), "rule A NAME N (ARG OP A B)*";
//	                                   names that it does not know go to standard error
//	reference numbers T... < names     "NAME NUMBER..." per name, -1 unknown
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int rc, const char *what) {
	if (rc < 0) {
		fprintf(stderr, "!%s: %s\n", what, strerror(-rc));
		exit(1);
	}
}

static int numbers(int argc, char **argv) {
	char name[128];
	while (scanf("%127s", name) == 1) {
		printf("%s", name);
		for (int i = 2; i < argc; i++) {
			int nr = seccomp_syscall_resolve_name_arch(strtoul(argv[i], 0, 0), name);
			printf(" %d", nr < 0 ? -1 : nr);
		}
		printf("\n");
	}
	return 0;
}

static void rule(scmp_filter_ctx ctx) {
	unsigned action, n;
	char name[128];
	struct scmp_arg_cmp args[6];
	if (scanf("%u %127s %u", &action, name, &n) != 3 || n > 6)
		check(-22, "rule");
	for (unsigned i = 0; i < n; i++) {
		unsigned arg, op;
		unsigned long long a, b;
		if (scanf("%u %u %llu %llu", &arg, &op, &a, &b) != 4)
			check(-22, "condition");
		args[i] = (struct scmp_arg_cmp){arg, op, a, b};
	}
	int nr = seccomp_syscall_resolve_name(name);
	if (nr == __NR_SCMP_ERROR)
		fprintf(stderr, "%s\n", name);
	else
		check(seccomp_rule_add_array(ctx, action, nr, n, args), name);
}

int main(int argc, char **argv) {
	if (argc > 1 && !strcmp(argv[1], "numbers"))
		return numbers(argc, argv);
	char word[16];
	unsigned v;
	scmp_filter_ctx ctx = 0;
	while (scanf("%15s", word) == 1) {
		if (!strcmp(word, "rule")) {
			rule(ctx);
			continue;
		}
		if (scanf("%u", &v) != 1)
			return 2;
		if (!strcmp(word, "default")) {
			ctx = seccomp_init(v);
			check(ctx ? 0 : -22, "seccomp_init");
		} else if (!strcmp(word, "arch")) {
			int rc = seccomp_arch_add(ctx, v);
			check(rc == -17 ? 0 : rc, "seccomp_arch_add");
		} else {
			check(seccomp_arch_remove(ctx, v), "seccomp_arch_remove");
		}
	}
	check(seccomp_export_bpf(ctx, 1), "seccomp_export_bpf");
	return 0;
}
