package compose

import (
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// health turns healthcheck into both probes, and x-holdfast's health into the ones that it names.
func (e *entry) health() {
	if h := e.c.HealthCheck; h != nil {
		if p := e.healthcheck(h); p != nil {
			e.spec.Health = holdfast.Health{Readiness: p, Liveness: clonePtr(p)}
		} else {
			e.spec.Health.Disabled = true
		}
	}
	if e.x.Readiness != nil {
		e.spec.Health.Readiness = e.x.Readiness
	}
	if e.x.Liveness != nil {
		e.spec.Health.Liveness = e.x.Liveness
	}
}

func clonePtr[T any](p *T) *T {
	v := *p
	return &v
}

func (e *entry) healthcheck(h *types.HealthCheckConfig) *holdfast.Probe {
	if h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE" {
		return nil
	}
	p := &holdfast.Probe{Exec: e.healthTest(h.Test)}
	interval := func(key string, d *types.Duration, to *holdfast.Duration, value holdfast.Duration, zero bool) {
		if d != nil {
			*to = e.duration(at("healthcheck", key), *d)
			if *d == 0 && !zero {
				e.bad(at("healthcheck", key), "must be above 0s")
			}
		}
		fill(e, "health."+key, to, value, d != nil)
	}
	interval("interval", h.Interval, &p.Interval, defaultInterval, false)
	interval("timeout", h.Timeout, &p.Timeout, defaultTimeout, false)
	interval("start_period", h.StartPeriod, &p.StartPeriod, defaultStartPeriod, true)
	interval("start_interval", h.StartInterval, &p.StartInterval, defaultStartInterval, false)
	if h.Retries != nil {
		p.Retries = int(min(*h.Retries, 1000))
		if p.Retries == 0 {
			e.bad(at("healthcheck", "retries"), "must be 1 or more")
		}
	}
	fill(e, "health.retries", &p.Retries, defaultRetries, h.Retries != nil)
	return p
}

func (e *entry) healthTest(test types.HealthCheckTest) []string {
	switch {
	case len(test) == 0:
		e.bad(at("healthcheck"), "needs a test: the image's own check is used only where the file has none")
		return nil
	case len(test) == 1:
		e.bad(at("healthcheck", "test"), "has nothing to run after %s", test[0])
		return nil
	case test[0] == "CMD":
		return test[1:]
	case test[0] == "CMD-SHELL":
		if len(test) > 2 {
			e.bad(at("healthcheck", "test"), "CMD-SHELL takes one string; use CMD for a list of arguments")
		}
		return []string{"/bin/sh", "-c", test[1]}
	}
	e.bad(at("healthcheck", "test"), "must start with CMD, CMD-SHELL or NONE, not %q", test[0])
	return nil
}

// ImageHealth is the health of a service that names none and whose image brings a check along: as a healthcheck of the
// file's would be, with its defaults for what p leaves open. test is the image's, and shell runs a CMD-SHELL; nil is
// /bin/sh -c. A test that is empty or NONE gives the zero value.
func ImageHealth(test, shell []string, p holdfast.Probe) holdfast.Health {
	switch {
	case len(test) > 1 && test[0] == "CMD":
		p.Exec = test[1:]
	case len(test) == 2 && test[0] == "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		p.Exec = append(slices.Clone(shell), test[1])
	default:
		return holdfast.Health{}
	}
	for _, d := range []struct {
		field    *holdfast.Duration
		fallback holdfast.Duration
	}{
		{&p.Interval, defaultInterval}, {&p.Timeout, defaultTimeout}, {&p.StartPeriod, defaultStartPeriod},
		{&p.StartInterval, defaultStartInterval},
	} {
		if *d.field <= 0 {
			*d.field = d.fallback
		}
	}
	if p.Retries <= 0 {
		p.Retries = defaultRetries
	}
	return holdfast.Health{Readiness: &p, Liveness: clonePtr(&p)}
}

// deadline is how long a new replica may take to become ready.
func deadline(p *holdfast.Probe) holdfast.Duration {
	if p == nil {
		return defaultDeadline
	}
	need := p.StartPeriod + holdfast.Duration(time.Duration(p.Retries)*p.Interval.Std())
	return max(defaultDeadline, need)
}
