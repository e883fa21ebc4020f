package agent

import (
	"cmp"
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast/holdfast"
)

// startProbes runs the probes of the replica's service, or takes a replica without any for ready at once. One that is both,
// as Compose's healthcheck is, is asked once.
func (t *task) startProbes(ctx context.Context, verdicts chan<- verdict) {
	readiness, liveness := readinessOf(&t.spec), t.spec.Health.Liveness
	switch {
	case readiness == nil:
		t.setReady(true, "")
	case liveness != nil && reflect.DeepEqual(*readiness, *liveness):
		t.startProbe(ctx, *readiness, verdicts, false, true)
		return
	default:
		t.startProbe(ctx, *readiness, verdicts, false)
	}
	if liveness != nil {
		t.startProbe(ctx, *liveness, verdicts, true)
	}
}

func (t *task) startProbe(ctx context.Context, probe holdfast.Probe, verdicts chan<- verdict, liveness ...bool) {
	p := &prober{probe: withDefaults(probe), liveness: liveness, verdicts: verdicts}
	switch {
	case probe.HTTP != nil:
		p.ask = askHTTP(t.address(), *probe.HTTP)
	case probe.TCP != 0:
		p.ask = askTCP(t.address(), probe.TCP)
	default:
		p.ask = askExec(t.agent.runtime, t.replica.ID, probe.Exec)
	}
	go p.run(ctx)
}

func withDefaults(p holdfast.Probe) holdfast.Probe {
	for _, d := range []struct {
		field    *holdfast.Duration
		fallback time.Duration
	}{{&p.Interval, 10 * time.Second}, {&p.Timeout, 5 * time.Second}, {&p.StartInterval, 250 * time.Millisecond}} {
		if *d.field <= 0 {
			*d.field = holdfast.Duration(d.fallback)
		}
	}
	return p
}

// readinessOf is the probe that decides when a replica may get requests. A service that clients reach by TCP and that
// names no probe is ready when its first port accepts a connection: a server that is still opening its socket would
// fail requests.
func readinessOf(spec *holdfast.Spec) *holdfast.Probe {
	if spec.Health.Readiness != nil {
		return spec.Health.Readiness
	}
	port := firstTCPPort(spec)
	if port == 0 || spec.Health.Liveness != nil {
		return spec.Health.Liveness
	}
	return &holdfast.Probe{TCP: port, StartPeriod: holdfast.Duration(time.Hour)}
}

func firstTCPPort(spec *holdfast.Spec) uint16 {
	for _, r := range spec.Routes {
		return r.Port
	}
	for _, p := range spec.Ports {
		if p.Protocol != "udp" {
			return p.Target
		}
	}
	return 0
}

// startingReason says what a started replica waits for.
func (t *task) startingReason() string {
	if readinessOf(&t.spec) == nil {
		return ""
	}
	return "waiting for its readiness probe"
}

// primaryAddress is the address on the network of the highest priority, the first by name among equals.
func primaryAddress(spec *holdfast.Spec, addresses map[string]netip.Addr) netip.Addr {
	for _, a := range byPriority(spec.Networks) {
		if addr := addresses[a.Network]; addr.IsValid() {
			return addr
		}
	}
	return netip.Addr{}
}

// byPriority returns the attachments, those of the highest priority first, by name among equals.
func byPriority(all []holdfast.Attachment) []holdfast.Attachment {
	return slices.SortedFunc(slices.Values(all), func(x, y holdfast.Attachment) int {
		return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(x.Network, y.Network))
	})
}
