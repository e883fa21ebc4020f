package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/fake"
	"github.com/holdfast/holdfast/network"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
	"github.com/holdfast/holdfast/volume"
)

// lab is an agent on a fake machine, in a synctest bubble.
type lab struct {
	t       *testing.T
	store   *store.Store
	runtime *fake.Runtime
	network *netRecorder
	dir     string
	spec    holdfast.Spec

	stopAgent context.CancelFunc
	agentDone chan struct{}
}

type stubImages struct{}

func (stubImages) Ensure(context.Context, string, string) (Image, error) {
	return Image{Config: imagespec.ImageConfig{Cmd: []string{"/server"}, StopSignal: "SIGQUIT"}}, nil
}

type stubVolumes struct{}

func (stubVolumes) Acquire(_ context.Context, v holdfast.Volume, _ string, _ volume.Fill) (string, error) {
	return "/volumes/" + v.Name, nil
}

func (stubVolumes) AcquireAnonymous(_ context.Context, replica, _ string, _ volume.Fill) (string, error) {
	return "/volumes/" + replica, nil
}

func (stubVolumes) Subpath(_ context.Context, name, _, sub string) (string, error) {
	return "/volumes/" + name + "/" + sub, nil
}
func (stubVolumes) Release(context.Context, string) error { return nil }
func (stubVolumes) Adopt(context.Context, []string) error { return nil }

// netRecorder remembers what the agent asked of the network.
type netRecorder struct {
	mu        sync.Mutex
	connected map[string]string // replica → sandbox
	order     []string          // of connecting
	released  map[string]bool   // sandbox
	table     network.Table
}

func (n *netRecorder) Prepare(context.Context, string, string) error { return nil }

func (n *netRecorder) Connect(_ context.Context, e network.Endpoint) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.connected[e.Replica] = e.Sandbox
	n.order = append(n.order, e.Replica)
	return nil
}

func (n *netRecorder) Release(_ context.Context, sandbox string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.released[sandbox] = true
	return nil
}

func (n *netRecorder) Adopt(context.Context, []string) ([]string, error) { return nil, nil }

func (n *netRecorder) Apply(_ context.Context, table network.Table) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.table = table
	return nil
}

func newLab(t *testing.T, script func(n int, spec container.Spec) fake.Behaviour) *lab {
	t.Helper()
	s, err := store.Open(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{
		t: t, store: s, runtime: fake.New(fake.Config{Script: script}), dir: t.TempDir(),
		network: &netRecorder{connected: map[string]string{}, released: map[string]bool{}},
		spec: holdfast.Spec{
			Name: "web", Image: "web", Process: holdfast.Process{StopGrace: holdfast.Duration(10 * time.Second)},
			Networks: []holdfast.Attachment{{Network: "default"}},
		},
	}
	return l
}

func (l *lab) start() {
	l.t.Helper()
	l.run(l.newAgent())
}

func (l *lab) newAgent() *Agent {
	return New(Config{
		Node:  holdfast.Node{ID: "n1", Name: "one", Gateway: true},
		Store: l.store, Runtime: l.runtime, Images: stubImages{}, Network: l.network, Volumes: stubVolumes{},
		DataDir: filepath.Join(l.dir, "data"), RunDir: filepath.Join(l.dir, "run"), PoolMin: 1, PoolMax: 4,
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
}

func (l *lab) run(a *Agent) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	l.stopAgent, l.agentDone = cancel, make(chan struct{})
	go func() {
		defer close(l.agentDone)
		a.Run(ctx) //nolint:errcheck // ends with the test
	}()
	l.settle()
}

func (l *lab) stop() {
	l.stopAgent()
	<-l.agentDone
}

// settle waits until nothing more happens without the clock moving, and a little beyond.
func (l *lab) settle() {
	time.Sleep(10 * time.Millisecond) // the bubble's clock
	synctest.Wait()
}

func (l *lab) update(change func(snap *store.Snapshot, tx *store.Tx)) {
	l.t.Helper()
	err := l.store.Update(l.t.Context(), func(snap *store.Snapshot, tx *store.Tx) error {
		change(snap, tx)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.settle()
}

// deploy writes a replica of the lab's spec for the node.
func (l *lab) deploy(id string) {
	l.t.Helper()
	l.update(func(_ *store.Snapshot, tx *store.Tx) {
		subnet := netip.MustParsePrefix("10.0.0.0/24")
		tx.Put(&holdfast.App{Name: "shop", Networks: map[string]holdfast.Network{"default": {Name: "shop_default", Subnet: subnet}}})
		tx.Put(&holdfast.Service{App: "shop", Name: "web", Release: 1})
		tx.Put(&holdfast.Release{App: "shop", Service: "web", Number: 1, Spec: l.spec})
		tx.Put(&holdfast.Replica{
			ID: id, App: "shop", Service: "web", Release: 1, Slot: 1, Node: "n1", Desired: holdfast.Run,
			Addresses: map[string]netip.Addr{"default": netip.MustParseAddr("10.0.0.2")},
		})
	})
}

func (l *lab) change(id string, change func(*holdfast.Replica)) {
	l.t.Helper()
	l.update(func(snap *store.Snapshot, tx *store.Tx) {
		old, _ := snap.Replicas.Get(id)
		r := *old
		change(&r)
		tx.Put(&r)
	})
}

func (l *lab) status(id string) holdfast.Status {
	l.t.Helper()
	st, ok := l.store.Snapshot().Statuses.Get(id)
	if !ok {
		l.t.Fatalf("no status of %s", id)
	}
	return *st
}

func (l *lab) wantStatus(id string, state holdfast.State, ready bool, reason string) {
	l.t.Helper()
	st := l.status(id)
	if st.State != state || st.Ready != ready || !strings.Contains(st.Reason, reason) {
		l.t.Fatalf("status is %s, ready %v, %q; want %s, %v, %q", st.State, st.Ready, st.Reason, state, ready, reason)
	}
}

func (l *lab) phase(id string) container.Phase {
	l.t.Helper()
	all, err := l.runtime.List(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, s := range all {
		if s.ID == id {
			return s.Phase
		}
	}
	return ""
}

func inBubble(t *testing.T, script func(int, container.Spec) fake.Behaviour, test func(*lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, script)
		l.start()
		test(l)
		l.stop()
	})
}

func TestReplicaRunsAndStops(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.deploy("web-1")
		l.wantStatus("web-1", holdfast.Running, true, "")
		if l.network.connected["web-1"] == "" {
			t.Fatal("its network was not connected")
		}
		l.change("web-1", func(r *holdfast.Replica) { r.Desired, r.StopWhy = holdfast.Stop, "scaled in" })
		l.wantStatus("web-1", holdfast.Stopped, false, "scaled in")
		if phase := l.phase("web-1"); phase != "" {
			t.Fatalf("the container is still %s", phase)
		}
		if !l.network.released[l.network.connected["web-1"]] {
			t.Fatal("its network was not released")
		}
	})
}

func TestRoutedReplicaStopsAfterEveryGatewayConfirmed(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.spec.Routes = []holdfast.Route{{Port: 80}}
		l.spec.Health.Readiness = &holdfast.Probe{Exec: []string{"ok"}}
		l.deploy("web-1")
		l.wantStatus("web-1", holdfast.Running, true, "")
		l.change("web-1", func(r *holdfast.Replica) { r.Desired, r.StopWhy = holdfast.Stop, "replaced" })
		l.wantStatus("web-1", holdfast.Draining, false, "replaced")
		drain := func(n int) {
			l.update(func(_ *store.Snapshot, tx *store.Tx) {
				tx.Put(&holdfast.Drain{Replica: "web-1", Node: "n1", InFlight: n})
			})
		}
		drain(3)
		l.wantStatus("web-1", holdfast.Draining, false, "replaced")
		drain(0)
		l.wantStatus("web-1", holdfast.Stopped, false, "replaced")
	})
}

func TestDrainEndsAtTheDeadline(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.spec.Routes = []holdfast.Route{{Port: 80}}
		l.spec.Health.Readiness = &holdfast.Probe{Exec: []string{"ok"}}
		l.deploy("web-1")
		l.change("web-1", func(r *holdfast.Replica) { r.Desired = holdfast.Stop })
		time.Sleep(9 * time.Second)
		l.wantStatus("web-1", holdfast.Draining, false, "")
		time.Sleep(2 * time.Second)
		l.settle()
		l.wantStatus("web-1", holdfast.Stopped, false, "")
	})
}

func TestStubbornContainerIsKilledAfterTheGrace(t *testing.T) {
	stubborn := func(int, container.Spec) fake.Behaviour { return fake.Behaviour{IgnoreTERM: true} }
	inBubble(t, stubborn, func(l *lab) {
		l.deploy("web-1")
		l.change("web-1", func(r *holdfast.Replica) { r.Desired = holdfast.Stop })
		time.Sleep(9 * time.Second)
		l.wantStatus("web-1", holdfast.Stopping, false, "")
		time.Sleep(2 * time.Second)
		l.settle()
		l.wantStatus("web-1", holdfast.Stopped, false, "")
	})
}

func TestKillDoesNotWait(t *testing.T) {
	stubborn := func(int, container.Spec) fake.Behaviour { return fake.Behaviour{IgnoreTERM: true} }
	inBubble(t, stubborn, func(l *lab) {
		l.deploy("web-1")
		l.change("web-1", func(r *holdfast.Replica) { r.Desired, r.Kill = holdfast.Stop, true })
		l.wantStatus("web-1", holdfast.Stopped, false, "")
	})
}

func TestEndsAreToldApart(t *testing.T) {
	for _, tc := range []struct {
		name      string
		behaviour fake.Behaviour
		state     holdfast.State
		reason    string
	}{
		{"success", fake.Behaviour{Exits: true}, holdfast.Stopped, "exited with code 0"},
		{"failure", fake.Behaviour{Exits: true, ExitCode: 3}, holdfast.Failed, "exited with code 3"},
		{"signal", fake.Behaviour{Exits: true, ExitCode: 139}, holdfast.Failed, "killed by SIGSEGV"},
		{"memory", fake.Behaviour{Exits: true, OOM: true}, holdfast.Failed, "out of memory"},
		{"start", fake.Behaviour{Err: holdfast.Errorf(holdfast.ErrInvalid, "/server: no such file")}, holdfast.Failed, "start container: /server: no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(int, container.Spec) fake.Behaviour { return tc.behaviour }, func(l *lab) {
				l.deploy("web-1")
				l.wantStatus("web-1", tc.state, false, tc.reason)
			})
		})
	}
}

func TestUnhealthyReplicaIsEnded(t *testing.T) {
	var broken sync.Map
	script := func(int, container.Spec) fake.Behaviour {
		return fake.Behaviour{Exec: func(container.ExecSpec, fake.Process) int {
			if _, ok := broken.Load("yes"); ok {
				return 1
			}
			return 0
		}}
	}
	inBubble(t, script, func(l *lab) {
		l.spec.Health.Liveness = &holdfast.Probe{Exec: []string{"check"}, Interval: holdfast.Duration(time.Second), Retries: 3}
		l.deploy("web-1")
		l.wantStatus("web-1", holdfast.Running, true, "")
		broken.Store("yes", true)
		time.Sleep(2 * time.Second)
		l.wantStatus("web-1", holdfast.Running, true, "")
		time.Sleep(2 * time.Second)
		l.settle()
		l.wantStatus("web-1", holdfast.Failed, false, "unhealthy: check exited with 1")
	})
}

func TestNextAgentAdoptsWhatRuns(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.deploy("web-1")
		l.stop()
		l.runtime = l.runtime.Reopen()
		l.start()
		l.wantStatus("web-1", holdfast.Running, true, "")
		if n := l.runtime.Starts(); n != 1 {
			t.Fatalf("%d starts: the replica was restarted", n)
		}
		l.change("web-1", func(r *holdfast.Replica) { r.Desired = holdfast.Stop })
		l.wantStatus("web-1", holdfast.Stopped, false, "")
	})
}

func TestExitBetweenTwoAgentsIsReported(t *testing.T) {
	script := func(int, container.Spec) fake.Behaviour {
		return fake.Behaviour{Exits: true, ExitAfter: time.Minute, ExitCode: 7}
	}
	inBubble(t, script, func(l *lab) {
		l.deploy("web-1")
		l.stop()
		time.Sleep(2 * time.Minute)
		l.runtime = l.runtime.Reopen()
		l.start()
		l.wantStatus("web-1", holdfast.Failed, false, "exited with code 7")
	})
}

func TestRebootEndsWhatRan(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.deploy("web-1")
		l.stop()
		l.runtime = l.runtime.Reboot()
		l.start()
		l.wantStatus("web-1", holdfast.Failed, false, "its container is gone")
	})
}

func TestContainersOfNobodyAreRemoved(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.deploy("web-1")
		l.stop()
		l.update(func(snap *store.Snapshot, tx *store.Tx) { tx.Delete(&holdfast.Replica{ID: "web-1"}) })
		l.start()
		if phase := l.phase("web-1"); phase != "" {
			t.Fatalf("the container is still %s", phase)
		}
	})
}

func TestFailedPreStartHookFailsTheReplica(t *testing.T) {
	script := func(_ int, spec container.Spec) fake.Behaviour {
		if strings.Contains(spec.ID, hookMark) {
			return fake.Behaviour{Exits: true, ExitAfter: time.Millisecond, ExitCode: 4}
		}
		return fake.Behaviour{}
	}
	inBubble(t, script, func(l *lab) {
		l.spec.Hooks.PreStart = []holdfast.Hook{{Command: []string{"migrate"}}}
		l.deploy("web-1")
		l.wantStatus("web-1", holdfast.Failed, false, "run pre_start hook: 1 (migrate): exited with code 4")
	})
}

func TestNetworkTableFollowsReadiness(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.spec.Ports = []holdfast.Port{{Target: 53, Published: 5353, Protocol: "udp", Mode: "host"}}
		l.deploy("web-1")
		l.network.mu.Lock()
		table := l.network.table
		l.network.mu.Unlock()
		if len(table.Endpoints) != 1 || !table.Endpoints[0].Ready || !table.Endpoints[0].Local {
			t.Fatalf("endpoints %+v", table.Endpoints)
		}
		if len(table.HostPorts) != 1 || table.HostPorts[0].To[0].String() != "10.0.0.2:53" {
			t.Fatalf("host ports %+v", table.HostPorts)
		}
		if err := table.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

// A pre-start hook has the replica's addresses while it runs; the replica must get them after it.
func TestPreStartHookLeavesTheNetworkToTheReplica(t *testing.T) {
	script := func(_ int, spec container.Spec) fake.Behaviour {
		return fake.Behaviour{Exits: strings.Contains(spec.ID, hookMark), ExitAfter: time.Millisecond}
	}
	inBubble(t, script, func(l *lab) {
		l.spec.Hooks.PreStart = []holdfast.Hook{{Command: []string{"migrate"}}}
		l.deploy("web-1")
		l.wantStatus("web-1", holdfast.Running, true, "")
		if got, want := strings.Join(l.network.order, " "), "web-1.pre0 web-1"; got != want {
			t.Fatalf("connected in the order %s, want %s", got, want)
		}
	})
}
