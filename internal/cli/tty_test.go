package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/api/apitest"
)

// screen is a terminal that a command runs on: what it prints is read from out, what is typed goes to master.
type screen struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	out    chan []byte
	seen   bytes.Buffer
	code   chan int
}

// onTerminal runs a command on a terminal of 24 rows and 100 columns.
func (r *rig) onTerminal(args ...string) *screen {
	r.t.Helper()
	master, slave, err := apitest.OpenPTY()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { master.Close(); slave.Close() })
	if err := apitest.SetSize(master, 24, 100); err != nil {
		r.t.Fatal(err)
	}
	s := &screen{t: r.t, master: master, slave: slave, out: make(chan []byte, 1024), code: make(chan int, 1)}
	go func() {
		for {
			buf := make([]byte, 4096)
			n, err := master.Read(buf)
			if err != nil {
				close(s.out)
				return
			}
			s.out <- buf[:n]
		}
	}()
	env := r.env
	env.Stdin, env.Stdout, env.Stderr = slave, slave, slave
	go func() { s.code <- Main(r.context(), env, args) }()
	return s
}

// await reads until text was printed.
func (s *screen) await(text string) {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(s.seen.String(), text) {
		select {
		case b, ok := <-s.out:
			if !ok {
				s.t.Fatalf("the terminal ended before %q:\n%q", text, s.seen.String())
			}
			s.seen.Write(b)
		case <-deadline:
			s.t.Fatalf("never printed %q:\n%q", text, s.seen.String())
		}
	}
}

func (s *screen) typed(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.master, text); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) end() int {
	s.t.Helper()
	select {
	case code := <-s.code:
		return code
	case <-time.After(20 * time.Second):
		s.t.Fatalf("the command did not end:\n%q", s.seen.String())
		return -1
	}
}

// raw reports whether keys go through as they are typed.
func (s *screen) raw() bool {
	s.t.Helper()
	mode, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return mode.Lflag&unix.ICANON == 0
}

func TestExecOnTerminal(t *testing.T) {
	r := newRig(t)
	r.deployed()
	s := r.onTerminal("exec", "web", "sh", "-c", "stty size; read x; echo got:$x; exit 7")
	s.await("24 100") // the process's terminal is as big as ours
	if !s.raw() {
		t.Error("the terminal is not raw while the command runs")
	}
	s.typed("abc\r")
	s.await("got:abc")
	if code := s.end(); code != 7 {
		t.Errorf("exit code %d", code)
	}
	if s.raw() {
		t.Error("the terminal is left raw")
	}
}

func TestExecNotOnTerminal(t *testing.T) {
	r := newRig(t)
	r.deployed()
	r.env.Stdin = strings.NewReader("bytes\x00as they are\r\n")
	got := r.run("exec", "-i", "web", "cat")
	if got.code != 0 || got.out != "bytes\x00as they are\r\n" {
		t.Errorf("exit code %d, %q", got.code, got.out)
	}
	r.vars["HERE"] = "mine"
	got = r.run("exec", "-e", "A=1", "-e", "HERE", "-w", "/", "web", "sh", "-c", "echo $A $HERE $PWD; echo err >&2; exit 130")
	if got.code != 130 || got.out != "1 mine /\n" || got.errout != "err\n" {
		t.Errorf("exit code %d, %q, %q", got.code, got.out, got.errout)
	}
	if got := r.run("exec", "web", "cat"); got.code != 0 || got.out != "" {
		t.Errorf("without -i there is input: %d %q", got.code, got.out)
	}
}

func TestAttachAndLeave(t *testing.T) {
	r := newRig(t)
	r.deployed()
	ctx, interrupt := context.WithCancel(t.Context())
	r.ctx = ctx
	s := r.onTerminal("attach", "web.1")
	s.typed("echoed\n")
	s.await("echoed\r\nechoed\r\n") // by the terminal, and by cat
	interrupt()
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.await("left arcade-web-1-r1 running")
}

// TestAttachToTerminal: keys go through, ctrl-c among them; ctrl-p ctrl-q leaves.
func TestAttachToTerminal(t *testing.T) {
	r := newRig(t)
	r.project = arcade("nginx:1.27")
	r.project.Deployment.Services[1].Process.TTY = true
	r.agent.World.Run(t)
	r.ok("up")
	s := r.onTerminal("attach", "web.1")
	for deadline := time.Now().Add(20 * time.Second); !s.raw(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the terminal never gets raw")
		}
	}
	s.typed("key\x03")
	s.await("key\x03") // by cat alone: a raw terminal does not echo
	s.typed("\x10\x11")
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.await("left arcade-web-1-r1 running")
}

func TestDetachKeys(t *testing.T) {
	for _, tt := range []struct {
		writes []string
		want   string
		left   bool
	}{
		{[]string{"plain"}, "plain", false},
		{[]string{"a\x10b"}, "a\x10b", false},
		{[]string{"a\x10", "b"}, "a\x10b", false},
		{[]string{"\x10\x10"}, "\x10", false},
		{[]string{"ab\x10", "\x11cd"}, "ab", true},
		{[]string{"\x11"}, "\x11", false},
	} {
		var out bytes.Buffer
		left := false
		w := &detachWriter{w: &out, detach: func() { left = true }}
		for _, text := range tt.writes {
			if _, err := w.Write([]byte(text)); err != nil {
				break
			}
		}
		if out.String() != tt.want || left != tt.left {
			t.Errorf("%q: %q, left %v", tt.writes, out.String(), left)
		}
	}
}

func TestUpOnTerminal(t *testing.T) {
	r := newRig(t)
	r.agent.World.Run(t)
	r.project = arcade("nginx:1.27")
	s := r.onTerminal("up")
	s.await("http://localhost:8080")
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	out := s.seen.String()
	for _, want := range []string{"\x1b[1marcade\x1b[0m", "\x1b[32m✔\x1b[0m build api", "A\r", "\x1b[K", "2/2 ready  release 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("the screen lacks %q:\n%q", want, out)
		}
	}
}

func TestNoColour(t *testing.T) {
	r := newRig(t)
	r.deployed()
	for _, tt := range []struct {
		vars map[string]string
		args []string
		want bool
	}{
		{nil, []string{"ps", "-p", "arcade"}, true},
		{map[string]string{"NO_COLOR": "1"}, []string{"ps", "-p", "arcade"}, false},
		{map[string]string{"TERM": "dumb"}, []string{"ps", "-p", "arcade"}, false},
		{nil, []string{"ps", "-p", "arcade", "--no-color"}, false},
	} {
		r.vars["NO_COLOR"], r.vars["TERM"] = tt.vars["NO_COLOR"], tt.vars["TERM"]
		s := r.onTerminal(tt.args...)
		s.await("arcade-web-2-r1")
		if code := s.end(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s.await("8080->80/tcp\r\n")
		if got := strings.Contains(s.seen.String(), "\x1b["); got != tt.want {
			t.Errorf("%v %v: colours %v", tt.vars, tt.args, got)
		}
	}
}

// TestPlanOnTerminal: what is printed at the end stands below the picture of what was waited for, not under it.
func TestPlanOnTerminal(t *testing.T) {
	r := newRig(t)
	r.project = arcade("nginx:1.27")
	s := r.onTerminal("plan")
	s.await("slot 2 is empty")
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.slave.Close()
	for b := range s.out {
		s.seen.Write(b)
	}
	_, after, _ := strings.Cut(s.seen.String(), "CHANGE")
	if strings.Contains(after, "\x1b[") && strings.Contains(after, "A\r") {
		t.Errorf("something is drawn over the table: %q", after)
	}
}

// TestInterruptedLook: ctrl-c is how one stops looking; nothing is said about it.
func TestInterruptedLook(t *testing.T) {
	for _, args := range []string{"logs -f", "events -f", "top"} {
		r := newRig(t)
		r.deployed()
		ctx, cancel := context.WithCancel(t.Context())
		r.ctx = ctx
		r.agent.Logs.Write("arcade-web-1-r1", apitest.Epoch, "stdout", "SERVICE is up")
		s := r.onTerminal(strings.Fields(args)...)
		s.await(map[string]string{"logs -f": "SERVICE is up", "events -f": "app.deployed", "top": "SERVICE"}[args])
		cancel()
		if code := s.end(); code != exitInterrupted {
			t.Errorf("%s: exit code %d", args, code)
		}
		s.slave.Close()
		for b := range s.out {
			s.seen.Write(b)
		}
		if strings.Contains(s.seen.String(), "interrupted") {
			t.Errorf("%s says %q", args, s.seen.String())
		}
	}
}
