package mux

import (
	"errors"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
	"github.com/holdfast/holdfast/container/containertest/prog"
	"github.com/holdfast/holdfast/container/fake"
)

// TestContract runs the suite with containers of the second runtime, beside an own one that is not empty.
func TestContract(t *testing.T) {
	type node struct{ own, other *fake.Runtime }
	nodes := map[string]node{}
	containertest.Run(t, containertest.Config{
		Park: container.ParkOptions{Runtime: "other"},
		Open: func(t testing.TB, dir string) (container.Runtime, func()) {
			n, again := nodes[dir]
			if again {
				n = node{n.own.Reopen(), n.other.Reopen()}
			} else {
				n = node{fake.New(fake.Config{}), fake.New(fake.Config{Script: runProgram})}
			}
			nodes[dir] = n
			cfg := Config{Own: n.own, Open: func(string) (container.Runtime, error) { return n.other, nil }}
			if again {
				cfg.Present = []string{"other"}
			}
			m, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			return m, func() {}
		},
		Missing: map[containertest.Feature]string{
			containertest.Kernel: "the runtimes are fakes", containertest.Terminal: "the runtimes are fakes", containertest.Rotation: "the runtimes are fakes",
			containertest.UserNS: "the runtimes are fakes", containertest.ExitOffline: "the runtimes are fakes",
		},
	})
}

func runProgram(_ int, spec container.Spec) fake.Behaviour {
	inside := func(args, env []string, p fake.Process) prog.Process {
		in := prog.Process{Args: args, Env: env, Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Killed: p.Killed}
		if prog.Catches(args[1]) {
			in.Signals = p.Signals
		}
		return in
	}
	env := spec.OCI.Process.Env
	return fake.Behaviour{
		Program: func(p fake.Process) int { return prog.Run(inside(spec.OCI.Process.Args, env, p)) },
		Exec: func(e container.ExecSpec, p fake.Process) int {
			return prog.Run(inside(e.Args, append(env, e.Env...), p))
		},
	}
}

func TestChoosesByName(t *testing.T) {
	own, other := fake.New(fake.Config{}), fake.New(fake.Config{})
	opened := 0
	m, err := New(t.Context(), Config{Own: own, Open: func(name string) (container.Runtime, error) {
		if name != "other" {
			return nil, holdfast.Errorf(holdfast.ErrUnsupported, "runtime %q", name)
		}
		opened++
		return other, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := m.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := func(id, runtime string) error {
		sandbox, err := m.Park(t.Context(), container.ParkOptions{Runtime: runtime})
		if err != nil {
			return err
		}
		_, err = m.Start(t.Context(), container.Spec{ID: id, Sandbox: sandbox.ID, OCI: &specs.Spec{Process: &specs.Process{Args: []string{"x"}}}})
		return err
	}
	if err := errors.Join(start("a", ""), start("b", "other"), start("c", "other")); err != nil {
		t.Fatal(err)
	}
	if own.Starts() != 1 || other.Starts() != 2 || opened != 1 {
		t.Errorf("%d own, %d other, opened %d times", own.Starts(), other.Starts(), opened)
	}
	if err := start("d", "third"); !errors.Is(err, holdfast.ErrUnsupported) {
		t.Errorf("unknown runtime: %v", err)
	}
	for _, c := range [][2]string{{"a", "other"}, {"b", ""}} {
		if err := start(c[0], c[1]); !errors.Is(err, holdfast.ErrConflict) {
			t.Errorf("%s a second time, in %q: %v", c[0], c[1], err)
		}
	}
	if _, err := m.Park(t.Context(), container.ParkOptions{NetOf: "b"}); !errors.Is(err, holdfast.ErrUnsupported) {
		t.Errorf("network of another runtime's container: %v", err)
	}
	if err := errors.Join(m.Signal(t.Context(), "a", syscall.SIGTERM), m.Kill(t.Context(), "b")); err != nil {
		t.Error(err)
	}
	exited := map[string]int{}
	for len(exited) < 2 {
		if s := <-changes; s.Phase == container.Exited {
			exited[s.ID] = s.ExitCode
		}
	}
	if exited["a"] != 143 || exited["b"] != 137 {
		t.Errorf("exit codes %v", exited)
	}
	list, err := m.List(t.Context())
	if err != nil || len(list) != 3 {
		t.Errorf("%v %v", list, err)
	}
}
