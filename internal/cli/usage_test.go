package cli

import (
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
)

// deployed puts an app with two services, api and web, of one and two replicas.
func (r *rig) deployed() {
	r.t.Helper()
	r.agent.World.Run(r.t)
	r.project = arcade("nginx:1.27")
	r.ok("up")
}

// TestMistakes: what a user may type wrong, the text that answers it, and the exit code.
func TestMistakes(t *testing.T) {
	r := newRig(t)
	r.deployed()
	tests := []struct {
		args string
		code int
		text string
	}{
		{"upp", 2, `holdfast has no command "upp": did you mean "up"?`},
		{"frobnicate", 2, `holdfast has no command "frobnicate" (see holdfast --help)`},
		{"up --detatch", 2, `holdfast up has no flag --detatch: did you mean --detach?`},
		{"up --frobnicate", 2, `holdfast up has no flag --frobnicate (see holdfast up --help)`},
		{"up -Q", 2, `holdfast up has no flag -Q (see holdfast up --help)`},
		{"up --timeout soon", 2, `invalid argument "soon" for "--timeout" flag: time: invalid duration "soon" (see holdfast up --help)`},
		{"up --pull sometimes", 2, `--pull sometimes: want always, missing or never`},
		{"up --scale web", 2, `--scale "web": want SERVICE=N, like web=3`},
		{"up --scale =3", 2, `--scale "=3": want SERVICE=N, like web=3`},
		{"up --scale web=many", 2, `--scale "web=many": "many" is no number of replicas from 0 to 10000`},
		{"up --scale wbe=3", 3, `--scale wbe=3: no service "wbe": did you mean web?`},
		{"up --file", 2, `flag needs an argument: --file (see holdfast up --help)`},
		{"down now", 2, `holdfast down takes no argument "now": holdfast down [flags]`},
		{"down --volumes --detach", 2, `--volumes cannot go with --detach: volumes are deleted once the app is gone`},
		{"down -p arcde", 3, `no app "arcde": did you mean arcade?`},
		{"ps wbe", 3, `no service "wbe": did you mean web?`},
		{"ps database", 3, `no service "database": there is api, web`},
		{"logs --since yesterday", 2, `--since yesterday: want a duration like 10m or a time like 2026-01-02T15:04:05Z`},
		{"logs --tail few", 2, `--tail few: want a number of lines, or all`},
		{"logs --tail -3", 2, `--tail -3: want a number of lines, or all`},
		{"logs wbe", 3, `no service or replica "wbe": did you mean web?`},
		{"events --tail 1.5", 2, `--tail 1.5: want a number of events, or all`},
		{"scale", 2, `holdfast scale needs SERVICE=N: holdfast scale SERVICE=N... [flags]`},
		{"scale web", 2, `"web": want SERVICE=N, like web=3`},
		{"scale web=-1", 2, `"web=-1": "-1" is no number of replicas from 0 to 10000`},
		{"scale web=10001", 2, `"web=10001": "10001" is no number of replicas from 0 to 10000`},
		{"scale wbe=1", 3, `no service "wbe": did you mean web?`},
		{"rollback web two", 2, `release "two": want a number from 1, as holdfast history web lists them`},
		{"rollback web 0", 2, `release "0": want a number from 1, as holdfast history web lists them`},
		{"rollback web 9", 3, `roll web back: there is no release 9`},
		{"rollback", 4, `roll back app arcade: no service has an earlier release`},
		{"rollback web 1 now", 2, `holdfast rollback takes no argument "now": holdfast rollback [SERVICE] [RELEASE] [flags]`},
		{"pause", 2, `holdfast pause needs SERVICE: holdfast pause SERVICE... [flags]`},
		{"exec web", 2, `holdfast exec needs COMMAND: holdfast exec SERVICE|REPLICA COMMAND [ARG...] [flags]`},
		{"exec -e =1 web true", 2, `--env "=1": want NAME=VALUE or NAME`},
		{"exec -t -T web true", 2, `--tty cannot go with --no-tty`},
		{"exec -it web true", 2, `-it needs a terminal as standard input: leave out -t to send a file or pipe`},
		{"exec web.7 true", 3, `no service or replica "web.7": did you mean web.1?`},
		{"exec web absent", 127, `replica arcade-web-1-r1 has no program "absent"`},
		{"exec web /etc", 126, `replica arcade-web-1-r1 cannot execute "/etc": permission denied`},
		{"kill -s SIGFROB web", 2, `--signal SIGFROB: no such signal; want a name like TERM or a number from 1 to 64`},
		{"kill --all web.1", 2, `--all web.1: give the name of a service; web.1 is one replica`},
		{"cp a b", 2, `neither "a" nor "b" is in a replica: want REPLICA:PATH on one side`},
		{"cp web:/a api:/b", 2, `copy from replica to replica: copy to a file here first, or pipe one into the other with -`},
		{"cp nosuchfile web:/", 2, `copy: lstat nosuchfile: no such file or directory`},
		{"cp web:/nosuchfile .", 3, `no file /nosuchfile`},
		{"port-forward web 99999", 2, `port "99999": want PORT or LOCAL:PORT, with numbers from 1 to 65535`},
		{"port-forward web http:80", 2, `port "http:80": want PORT or LOCAL:PORT, with numbers from 1 to 65535`},
		{"top --interval 1ms", 2, `--interval 1ms: want at least 100ms`},
		{"inspect --type pod web", 2, `--type pod: want app, service, replica, node, image or volume`},
		{"inspect wbe", 3, `no app, service, replica, node, image or volume "wbe": did you mean web?`},
		{"image frob", 2, `holdfast image has no command "frob" (see holdfast image --help)`},
		{"image pul", 2, `holdfast image has no command "pul": did you mean "pull"?`},
		{"image import nosuchfile", 2, `import: open nosuchfile: no such file or directory`},
		{"image import -", 2, `import : the tar is empty`},
		{"image pull absent/image", 3, `pull absent/image: the registry has no such image`},
		{"image rm none", 3, `no image none`},
		{"volume inspect none", 3, `no volume "none"`},
		{"route test ftp://a/b", 2, `URL "ftp://a/b": want http://HOST/PATH, HOST/PATH or /PATH`},
		{"route test other.test/", 3, `no route takes other.test/: the gateway answers 404`},
		{"agent --label disk", 2, `--label "disk": want NAME=VALUE`},
		{"agent --dns dns.example", 2, `--dns dns.example: want the IP address of a DNS server, with or without a port`},
		{"agent --log-level loud", 2, `--log-level loud: want debug, info, warn or error`},
		{"agent --log-format xml", 2, `--log-format xml: want text or json`},
		{"agent instal", 2, `holdfast agent has no command "instal": did you mean "install"?`},
		{"agent stop --all", 2, `holdfast agent stop has no flag --all (see holdfast agent stop --help)`},
		{"completion tcsh", 2, `no completion for shell "tcsh": want bash, zsh or fish`},
		{"version --socket /nowhere/api.sock --frob", 2, `holdfast version has no flag --frob (see holdfast version --help)`},
		{"ps --socket /nowhere/api.sock", 5, `no agent answers on /nowhere/api.sock: holdfast up starts one, holdfast agent runs one in the foreground`},
		{"up --socket /nowhere/other.sock", 5, `no agent answers on /nowhere/other.sock: start one with holdfast agent`},
	}
	for _, tt := range tests {
		got := r.run(strings.Fields(tt.args)...)
		if got.code != tt.code || lastMessage(got.errout) != tt.text {
			t.Errorf("holdfast %s: exit code %d, want %d\n got: %s\nwant: %s", tt.args, got.code, tt.code, lastMessage(got.errout), tt.text)
		}
	}
}

// lastMessage is the error that a command ended with, without the program's name.
func lastMessage(errout string) string {
	_, text, _ := strings.Cut(errout, "holdfast: ")
	return strings.TrimSuffix(text, "\n")
}

func TestWhichApp(t *testing.T) {
	r := newRig(t)
	if got := r.run("logs"); got.code != exitNotFound || lastMessage(got.errout) != "no app is deployed: start one with holdfast up" {
		t.Errorf("with no app: %d %s", got.code, got.errout)
	}
	r.agent.Put(t, &holdfast.App{Name: "one"})
	if got := r.run("logs"); got.code != 0 {
		t.Errorf("with one app: %d %s", got.code, got.errout)
	}
	r.agent.Put(t, &holdfast.App{Name: "two"})
	if got := r.run("logs"); got.code != exitUsage || lastMessage(got.errout) != "which app? name one with --app: one, two" {
		t.Errorf("with two apps: %d %s", got.code, got.errout)
	}
	r.vars["HOLDFAST_APP"] = "two"
	if got := r.run("logs"); got.code != 0 {
		t.Errorf("with HOLDFAST_APP: %d %s", got.code, got.errout)
	}
	r.vars["HOLDFAST_APP"], r.vars["COMPOSE_FILE"] = "", "other.yaml"
	const want = "no Compose file here\nname the app with --app to do without the Compose file"
	if got := r.run("logs"); got.code != exitUsage || lastMessage(got.errout) != want {
		t.Errorf("with a file that does not load: %d %s", got.code, got.errout)
	}
}
