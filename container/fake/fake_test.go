package fake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
	"github.com/holdfast/holdfast/container/containertest/prog"
)

func TestContract(t *testing.T) {
	open := map[string]*Runtime{} // by directory: what would be on disk
	containertest.Run(t, containertest.Config{
		Open: func(_ testing.TB, dir string) (container.Runtime, func()) {
			if open[dir] == nil {
				open[dir] = New(Config{Script: runProgram})
			} else {
				open[dir] = open[dir].Reopen()
			}
			return open[dir], func() {}
		},
		Missing: map[containertest.Feature]string{
			containertest.Kernel:      "its programs are Go functions",
			containertest.Terminal:    "its programs are Go functions",
			containertest.Rotation:    "its log is one file",
			containertest.UserNS:      "its programs are Go functions",
			containertest.ExitOffline: "its programs have no process ID to signal",
		},
	})
}

// runProgram runs the suite's program as a Go function.
func runProgram(_ int, spec container.Spec) Behaviour {
	return Behaviour{
		Program: func(p Process) int { return prog.Run(inside(spec.OCI.Process.Args, spec.OCI.Process.Env, p)) },
		Exec: func(e container.ExecSpec, p Process) int {
			return prog.Run(inside(e.Args, append(spec.OCI.Process.Env, e.Env...), p))
		},
	}
}

func inside(args, env []string, p Process) prog.Process {
	signals := p.Signals
	if !prog.Catches(args[1]) {
		signals = nil
	}
	return prog.Process{Args: args, Env: env, Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Signals: signals, Killed: p.Killed}
}

func spec(id, sandbox string) container.Spec {
	return container.Spec{ID: id, Sandbox: sandbox, OCI: &specs.Spec{Process: &specs.Process{Args: []string{"/app"}}}}
}

func start(t *testing.T, r *Runtime, id string) (container.Status, error) {
	t.Helper()
	sandbox, err := r.Park(t.Context(), container.ParkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Start(t.Context(), spec(id, sandbox.ID))
}

func phase(t *testing.T, r *Runtime, id string) container.Status {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.ID == id {
			return s
		}
	}
	return container.Status{}
}

func TestScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		r := New(Config{Script: func(n int, _ container.Spec) Behaviour {
			return []Behaviour{
				{}, {Err: broken}, {Exits: true, ExitAfter: time.Hour, ExitCode: 3}, {Exits: true, OOM: true},
				{IgnoreTERM: true, NeverReady: true}, {TermAfter: time.Second, ReadyAfter: time.Minute}, {Delay: time.Minute},
			}[n-1]
		}})
		if s, err := start(t, r, "plain"); err != nil || s.Phase != container.Running || !r.Ready("plain") {
			t.Errorf("plain: %+v %v", s, err)
		}
		if _, err := start(t, r, "broken"); !errors.Is(err, broken) {
			t.Errorf("broken: %v", err)
		}
		for _, id := range []string{"exits", "oom", "stubborn", "slow-end"} {
			if _, err := start(t, r, id); err != nil {
				t.Fatal(err)
			}
		}
		if s := phase(t, r, "oom"); !s.OOM || s.ExitCode != 137 {
			t.Errorf("oom: %+v", s)
		}
		began := time.Now()
		if s, err := start(t, r, "slow-start"); err != nil || time.Since(began) != time.Minute || s.Started != began.Add(time.Minute) {
			t.Errorf("slow start: %+v %v", s, err)
		}
		for _, id := range []string{"stubborn", "slow-end", "plain"} {
			if err := r.Signal(t.Context(), id, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		if r.Ready("stubborn") || !r.Ready("slow-end") || phase(t, r, "plain").ExitCode != 143 {
			t.Errorf("stubborn %v, slow-end %v, plain %+v", r.Ready("stubborn"), r.Ready("slow-end"), phase(t, r, "plain"))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := phase(t, r, "slow-end"); s.Phase != container.Exited || s.ExitCode != 143 {
			t.Errorf("slow end: %+v", s)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := phase(t, r, "exits"); s.ExitCode != 3 || s.Finished.Sub(s.Started) != time.Hour {
			t.Errorf("exits: %+v", s)
		}
		if s := phase(t, r, "stubborn"); s.Phase != container.Running {
			t.Errorf("stubborn: %+v", s)
		}
		if err := r.Exit("stubborn", 9); err != nil || phase(t, r, "stubborn").ExitCode != 9 {
			t.Errorf("exit: %v %+v", err, phase(t, r, "stubborn"))
		}
	})
}

func TestStartGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Script: func(int, container.Spec) Behaviour { return Behaviour{Delay: time.Hour} }})
		sandbox, err := r.Park(t.Context(), container.ParkOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Start(ctx, spec("a", sandbox.ID)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%v %v", list, err)
		}
	})
}

func TestParkFails(t *testing.T) {
	full := holdfast.Errorf(holdfast.ErrUnavailable, "full")
	r := New(Config{Park: func(n int) error {
		if n == 2 {
			return full
		}
		return nil
	}})
	for n, want := range []error{nil, full, nil} {
		if _, err := r.Park(t.Context(), container.ParkOptions{}); !errors.Is(err, want) {
			t.Errorf("park %d: %v", n+1, err)
		}
	}
}

// TestChangesAreDeterministic runs one script twice on a clock that the test steps, without goroutines.
func TestChangesAreDeterministic(t *testing.T) {
	run := func() string {
		var log strings.Builder
		clock := &stepped{now: time.Unix(0, 0)}
		r := New(Config{
			Now: func() time.Time { return clock.now }, AfterFunc: clock.afterFunc,
			Script: func(n int, _ container.Spec) Behaviour {
				return Behaviour{Exits: n%2 == 0, ExitAfter: time.Duration(n)}
			},
			Changed: func(s container.Status) { fmt.Fprintln(&log, s.ID, s.Phase, s.PID, s.Finished.UnixNano()) },
		})
		for i := range 6 {
			if _, err := start(t, r, fmt.Sprint("c", i)); err != nil {
				t.Fatal(err)
			}
		}
		for range 8 {
			clock.step()
		}
		r = r.Reboot()
		if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("after a reboot: %v %v", list, err)
		}
		if r.Starts() != 6 {
			t.Errorf("%d starts", r.Starts())
		}
		return log.String()
	}
	first, again := run(), run()
	if first != again || strings.Count(first, "exited") != 3 {
		t.Errorf("first:\n%s\nagain:\n%s", first, again)
	}
}

// stepped is a clock that moves when it is told.
type stepped struct {
	now    time.Time
	timers []func()
}

func (c *stepped) afterFunc(d time.Duration, f func()) func() bool {
	at, stopped := c.now.Add(d), false
	c.timers = append(c.timers, func() {
		if !stopped && c.now.Equal(at) {
			f()
		}
	})
	return func() bool { stopped = true; return true }
}

func (c *stepped) step() {
	c.now = c.now.Add(1)
	for _, f := range c.timers {
		f()
	}
}

func TestClosed(t *testing.T) {
	old := New(Config{})
	r := old.Reopen()
	if _, err := old.List(t.Context()); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("the old runtime: %v", err)
	}
	if _, err := r.List(t.Context()); err != nil {
		t.Error(err)
	}
}
