#!/bin/sh
# Regenerates syscalls.txt from golang.org/x/sys/unix: name, then its number on amd64, 386, x32, arm64 and arm, "-" where
# it has none. x32 numbers (without their bit 30) are amd64's, but for the ones that the x32 lines below give, as in the
# kernel's arch/x86/entry/syscalls/syscall_64.tbl. The private calls of arm are from arch/arm/include/uapi/asm/unistd.h.
set -eu
sys=$(go list -m -f '{{.Dir}}' golang.org/x/sys)/unix
table() { awk -v a="$1" '/^\tSYS_/ { n = tolower(substr($1, 5)); if (n != "syscall_mask" && n != "oabi_syscall_base") print a, n, $3 }' "$sys/zsysnum_linux_$1.go"; }
{
	table amd64; table 386; table arm64; table arm
	for e in breakpoint=983041 cacheflush=983042 usr26=983043 usr32=983044 set_tls=983045 get_tls=983046; do
		echo arm "${e%=*}" "${e#*=}"
	done
	# Calls of the 64-bit ABI only, which x32 has another number for.
	for e in rt_sigaction=512 rt_sigreturn=513 ioctl=514 readv=515 writev=516 recvfrom=517 sendmsg=518 recvmsg=519 \
		execve=520 ptrace=521 rt_sigpending=522 rt_sigtimedwait=523 rt_sigqueueinfo=524 sigaltstack=525 \
		timer_create=526 mq_notify=527 kexec_load=528 waitid=529 set_robust_list=530 get_robust_list=531 \
		vmsplice=532 move_pages=533 preadv=534 pwritev=535 rt_tgsigqueueinfo=536 recvmmsg=537 sendmmsg=538 \
		process_vm_readv=539 process_vm_writev=540 setsockopt=541 getsockopt=542 io_setup=543 io_submit=544 \
		execveat=545 preadv2=546 pwritev2=547; do
		echo x32 "${e%=*}" "${e#*=}"
	done
	for n in uselib _sysctl create_module get_kernel_syms query_module nfsservctl set_thread_area get_thread_area \
		epoll_ctl_old epoll_wait_old vserver uretprobe uprobe map_shadow_stack; do
		echo x32 $n -
	done
} | LC_ALL=C awk '
	{ num[$1, $2] = $3; name[$2] = 1 }
	END {
		for (n in name) {
			if (!(("x32", n) in num) && (("amd64", n) in num)) num["x32", n] = num["amd64", n]
			line = n
			split("amd64 386 x32 arm64 arm", order, " ")
			for (i = 1; i <= 5; i++) line = line " " (((order[i], n) in num) ? num[order[i], n] : "-")
			print line
		}
	}' | LC_ALL=C sort > syscalls.txt
