package containertest

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

var lifeTests = []contractTest{
	{"park", nil, testPark},
	{"park-hostnet", []Feature{Kernel}, testParkHostNet},
	{"park-netof", []Feature{Kernel}, testParkNetOf},
	{"start", nil, testStart},
	{"exit-codes", nil, testExitCodes},
	{"signals", nil, testSignals},
	{"kill", nil, testKill},
	{"kill-children", []Feature{Kernel}, testKillChildren},
	{"remove", nil, testRemove},
	{"invalid", nil, testInvalid},
	{"missing-program", []Feature{Kernel}, testMissingProgram},
	{"sandbox-used-up", nil, testSandboxUsedUp},
	{"watch", nil, testWatch},
	{"watch-ends", nil, testWatchEnds},
	{"reopen", nil, testReopen},
	{"reopen-exited", []Feature{ExitOffline}, testReopenExited},
	{"pause", nil, testPause},
	{"pause-stops", []Feature{Kernel}, testPauseStops},
	{"many", nil, testMany},
}

func testPark(h *harness) {
	one, two := h.park(h.cfg.Park), h.park(h.cfg.Park)
	if one.ID == "" || one.ID == two.ID || one.NetNS == "" || one.NetNS == two.NetNS {
		h.Errorf("two sandboxes: %+v %+v", one, two)
	}
	status := h.list()[one.ID]
	equal(h, "phase", status.Phase, container.Parked)
	equal(h, "sandbox", status.Sandbox, one)
	must(h, h.rt.Remove(h.Context(), one.ID))
	if _, there := h.list()[one.ID]; there {
		h.Error("the sandbox is listed after its removal")
	}
}

func testParkHostNet(h *harness) {
	opt := h.cfg.Park
	opt.HostNet = true
	sandbox := h.park(opt)
	mine, err := os.Stat("/proc/self/ns/net")
	must(h, err)
	theirs, err := os.Stat(sandbox.NetNS)
	must(h, err)
	if !os.SameFile(mine, theirs) {
		h.Error("the sandbox has a network namespace of its own")
	}
	own, err := os.Stat(h.park(h.cfg.Park).NetNS)
	must(h, err)
	if os.SameFile(mine, own) {
		h.Error("the sandbox has the host's network namespace")
	}
}

func testParkNetOf(h *harness) {
	first := h.start([]string{"sleep"})
	opt := h.cfg.Park
	opt.NetOf = first.ID
	second := h.park(opt)
	a, err := os.Stat(first.Sandbox.NetNS)
	must(h, err)
	b, err := os.Stat(second.NetNS)
	must(h, err)
	if !os.SameFile(a, b) {
		h.Error("the namespaces differ")
	}
	opt.NetOf = "nobody"
	if _, err := h.rt.Park(h.Context(), opt); !errors.Is(err, holdfast.ErrNotFound) {
		h.Errorf("network of a container that does not exist: %v", err)
	}
}

func testStart(h *harness) {
	before := time.Now()
	spec := h.spec([]string{"sleep"}, func(s *container.Spec) { s.Labels = map[string]string{"a": "b"} })
	status, err := h.rt.Start(h.Context(), spec)
	must(h, err)
	equal(h, "ID", status.ID, spec.ID)
	equal(h, "phase", status.Phase, container.Running)
	equal(h, "sandbox", status.Sandbox.ID, spec.Sandbox)
	equal(h, "label", status.Labels["a"], "b")
	if status.PID <= 0 || status.Started.Before(before.Add(-time.Second)) || status.Started.After(time.Now().Add(time.Second)) {
		h.Errorf("status %+v", status)
	}
	listed := h.list()
	equal(h, "listed PID", listed[spec.ID].PID, status.PID)
	equal(h, "listed label", listed[spec.ID].Labels["a"], "b")
	if _, there := listed[spec.Sandbox]; there {
		h.Error("the used sandbox is still listed")
	}
	h.says(spec.ID, "asleep")
}

func testExitCodes(h *harness) {
	for arg, want := range map[string]int{"0": 0, "1": 1, "255": 255} {
		code, _ := h.run([]string{"exit", arg})
		equal(h, "exit code", code, want)
	}
	status := h.exited(h.start([]string{"exit", "3"}).ID)
	if status.Finished.Before(status.Started) || status.OOM {
		h.Errorf("status %+v", status)
	}
}

func testSignals(h *harness) {
	id := h.start([]string{"catch", "7"}).ID
	h.says(id, "ready")
	must(h, h.rt.Signal(h.Context(), id, syscall.SIGHUP))
	h.says(id, "caught 1")
	must(h, h.rt.Signal(h.Context(), id, syscall.SIGTERM))
	equal(h, "exit code", h.exited(id).ExitCode, 7)
	for _, id := range []string{id, "nobody"} {
		if err := h.rt.Signal(h.Context(), id, syscall.SIGTERM); !errors.Is(err, holdfast.ErrNotFound) {
			h.Errorf("signal to %s: %v", id, err)
		}
	}
}

func testKill(h *harness) {
	id := h.start([]string{"ignore"}).ID
	h.says(id, "ready")
	must(h, h.rt.Signal(h.Context(), id, syscall.SIGTERM))
	must(h, h.rt.Kill(h.Context(), id))
	equal(h, "exit code", h.exited(id).ExitCode, 137)
	must(h, h.rt.Kill(h.Context(), id))
	if err := h.rt.Kill(h.Context(), "nobody"); !errors.Is(err, holdfast.ErrNotFound) {
		h.Errorf("kill of nobody: %v", err)
	}
	// A paused container is killed too.
	id = h.start([]string{"ignore"}).ID
	must(h, h.rt.Pause(h.Context(), id))
	must(h, h.rt.Kill(h.Context(), id))
	equal(h, "exit code of a paused one", h.exited(id).ExitCode, 137)
}

func testKillChildren(h *harness) {
	id := h.start([]string{"fork", "3"}).ID
	h.says(id, "started 3")
	stats, err := h.rt.Stats(h.Context(), id)
	must(h, err)
	if stats.PIDs < 4 {
		h.Errorf("%d processes and threads", stats.PIDs)
	}
	must(h, h.rt.Kill(h.Context(), id))
	h.exited(id)
	must(h, h.rt.Remove(h.Context(), id))
}

func testRemove(h *harness) {
	must(h, h.rt.Remove(h.Context(), "nobody"))
	ended := h.start([]string{"print", "kept", ""})
	h.exited(ended.ID)
	running := h.start([]string{"ignore"})
	for _, s := range []container.Status{ended, running} {
		for range 2 {
			must(h, h.rt.Remove(h.Context(), s.ID))
		}
		if _, there := h.list()[s.ID]; there {
			h.Errorf("%s is listed after its removal", s.ID)
		}
	}
	equal(h, "log after removal", h.log(ended.ID), "kept")
	if _, missing := h.cfg.Missing[Kernel]; missing {
		return
	}
	h.eventually("the process is gone", func() bool { return !alive(running.PID) })
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	data, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(data), ") Z ")
}

func testInvalid(h *harness) {
	for name, change := range map[string]option{
		"no ID":      func(s *container.Spec) { s.ID = "" },
		"no OCI":     func(s *container.Spec) { s.OCI = nil },
		"no process": func(s *container.Spec) { s.OCI.Process = nil },
		"no command": func(s *container.Spec) { s.OCI.Process.Args = nil },
	} {
		if _, err := h.rt.Start(h.Context(), h.spec([]string{"sleep"}, change)); !errors.Is(err, holdfast.ErrInvalid) {
			h.Errorf("%s: %v", name, err)
		}
	}
	first := h.start([]string{"sleep"})
	second := h.spec([]string{"sleep"}, func(s *container.Spec) { s.ID = first.ID })
	if _, err := h.rt.Start(h.Context(), second); !errors.Is(err, holdfast.ErrConflict) {
		h.Errorf("the same ID twice: %v", err)
	}
	equal(h, "the first container", h.list()[first.ID].Phase, container.Running)
	for name, err := range map[string]error{
		"stats":  second2(h.rt.Stats(h.Context(), "nobody")),
		"pause":  h.rt.Pause(h.Context(), "nobody"),
		"resume": h.rt.Resume(h.Context(), "nobody"),
		"exec":   second2(h.rt.Exec(h.Context(), "nobody", container.ExecSpec{Args: []string{"/bin/prog", "exit", "0"}})),
		"attach": second2(h.rt.Attach(h.Context(), "nobody")),
	} {
		if !errors.Is(err, holdfast.ErrNotFound) {
			h.Errorf("%s of nobody: %v", name, err)
		}
	}
}

func second2[T any](_ T, err error) error { return err }

func testMissingProgram(h *harness) {
	for _, path := range []string{"/bin/nothing", "/etc/plain", "/etc/bad", "/proc", "relative/nothing"} {
		spec := h.spec(nil, func(s *container.Spec) { s.OCI.Process.Args = []string{path} })
		_, err := h.rt.Start(h.Context(), spec)
		if err == nil || !strings.Contains(err.Error(), path) || holdfast.KindOf(err) == nil {
			h.Errorf("start of %s: %v (kind %v), want an error that names it", path, err, holdfast.KindOf(err))
		}
		if s, there := h.list()[spec.ID]; there {
			h.Errorf("a container that did not start is listed: %+v", s)
		}
		if _, there := h.list()[spec.Sandbox]; there {
			h.Error("the used sandbox is still listed")
		}
	}
}

func testSandboxUsedUp(h *harness) {
	spec := h.spec([]string{"sleep"})
	_, err := h.rt.Start(h.Context(), spec)
	must(h, err)
	spec.ID += "b"
	if _, err := h.rt.Start(h.Context(), spec); !errors.Is(err, holdfast.ErrNotFound) {
		h.Errorf("second start in one sandbox: %v", err)
	}
}

func testWatch(h *harness) {
	early := h.start([]string{"sleep"})
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	changes, err := h.rt.Watch(ctx)
	must(h, err)
	late := h.start([]string{"exit", "4"})
	phases := map[string][]container.Phase{}
	for s := range changes {
		phases[s.ID] = append(phases[s.ID], s.Phase)
		if s.ID == late.ID && s.Phase == container.Exited {
			equal(h, "exit code", s.ExitCode, 4)
			break
		}
	}
	equal(h, "phases of the early one", joined(phases[early.ID]), "running")
	equal(h, "phases of the late one", joined(phases[late.ID]), "running exited")
}

func joined(phases []container.Phase) string {
	var words []string
	for _, p := range phases {
		words = append(words, string(p))
	}
	return strings.Join(words, " ")
}

func testWatchEnds(h *harness) {
	ctx, cancel := context.WithCancel(h.Context())
	changes, err := h.rt.Watch(ctx)
	must(h, err)
	cancel()
	deadline := time.After(patience)
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-deadline:
			h.Fatal("the channel stays open after its context ended")
		}
	}
}

func testReopen(h *harness) {
	sandbox := h.park(h.cfg.Park)
	spec := h.spec([]string{"catch", "9"}, func(s *container.Spec) { s.Labels = map[string]string{"k": "v"} })
	before, err := h.rt.Start(h.Context(), spec)
	must(h, err)
	ended := h.start([]string{"exit", "5"})
	h.exited(ended.ID)
	h.says(before.ID, "ready")
	h.reopen()
	listed := h.list()
	equal(h, "sandbox", listed[sandbox.ID].Phase, container.Parked)
	equal(h, "exit code", listed[ended.ID].ExitCode, 5)
	after := listed[before.ID]
	if after.Phase != container.Running || after.PID != before.PID || !after.Started.Equal(before.Started) || after.Labels["k"] != "v" {
		h.Errorf("before %+v\nafter  %+v", before, after)
	}
	must(h, h.rt.Signal(h.Context(), before.ID, syscall.SIGHUP))
	h.says(before.ID, "caught 1")
	must(h, h.rt.Signal(h.Context(), before.ID, syscall.SIGTERM))
	equal(h, "exit code", h.exited(before.ID).ExitCode, 9)
	spec = h.spec([]string{"exit", "6"}, func(s *container.Spec) { s.Sandbox = sandbox.ID })
	_, err = h.rt.Start(h.Context(), spec)
	must(h, err)
	equal(h, "exit code in the old sandbox", h.exited(spec.ID).ExitCode, 6)
}

func testReopenExited(h *harness) {
	status := h.start([]string{"catch", "21"})
	h.says(status.ID, "ready")
	h.close()
	process, err := os.FindProcess(status.PID)
	must(h, err)
	must(h, process.Signal(syscall.SIGTERM))
	h.rt, h.close = h.cfg.Open(h, h.dir)
	equal(h, "exit code", h.exited(status.ID).ExitCode, 21)
}

func testPause(h *harness) {
	id := h.start([]string{"catch", "0"}).ID
	h.says(id, "ready") // before, the signal below would be lost, or end it
	must(h, h.rt.Resume(h.Context(), id))
	for range 2 {
		must(h, h.rt.Pause(h.Context(), id))
	}
	equal(h, "phase", h.list()[id].Phase, container.Paused)
	if _, err := h.rt.Exec(h.Context(), id, container.ExecSpec{Args: []string{"/bin/prog", "exit", "0"}}); !errors.Is(err, holdfast.ErrConflict) {
		h.Errorf("exec in a paused container: %v", err)
	}
	for range 2 {
		must(h, h.rt.Resume(h.Context(), id))
	}
	equal(h, "phase", h.list()[id].Phase, container.Running)
	must(h, h.rt.Signal(h.Context(), id, syscall.SIGTERM))
	equal(h, "exit code", h.exited(id).ExitCode, 0)
}

func testPauseStops(h *harness) {
	id := h.start([]string{"tick"}).ID
	h.says(id, "3")
	must(h, h.rt.Pause(h.Context(), id))
	// What was written before may still be on its way: the log must become still, and grow again later.
	var still int
	h.eventually("the log is still", func() bool {
		n := len(h.entries(id))
		same := n == still
		still = n
		return same && sameFor(100*time.Millisecond, func() bool { return len(h.entries(id)) == n })
	})
	must(h, h.rt.Resume(h.Context(), id))
	h.eventually("the log grows", func() bool { return len(h.entries(id)) > still })
}

// sameFor reports whether ok holds for d.
func sameFor(d time.Duration, ok func() bool) bool {
	end := time.After(d)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ok() {
		select {
		case <-end:
			return true
		case <-tick.C:
		}
	}
	return false
}

func testMany(h *harness) {
	const n = 8
	specs := make([]container.Spec, n)
	for i := range specs {
		specs[i] = h.spec([]string{"exit", itoa(i)})
	}
	errs := make(chan error, n)
	for _, spec := range specs {
		go func() {
			_, err := h.rt.Start(h.Context(), spec)
			errs <- err
		}()
	}
	for range n {
		must(h, <-errs)
	}
	for i, spec := range specs {
		equal(h, "exit code", h.exited(spec.ID).ExitCode, i)
	}
}
