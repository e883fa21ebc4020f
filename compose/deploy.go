package compose

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/holdfast/holdfast"
)

// mode settles how many replicas there are.
func (e *entry) mode() {
	if e.job {
		e.spec.Mode = holdfast.Job
		return
	}
	d := cmp.Or(e.c.Deploy, &types.DeployConfig{})
	switch d.Mode {
	case "", "replicated":
		e.spec.Mode = holdfast.Replicated
	case "global":
		e.spec.Mode = holdfast.Global
	case "replicated-job", "global-job":
		e.cannot(at("deploy", "mode"), "%s is not done: write it under the top-level jobs", d.Mode)
	default:
		e.bad(at("deploy", "mode"), "unknown mode %q: use replicated or global", d.Mode)
	}
	if d.Mode == "" {
		e.defaulted = append(e.defaulted, "mode")
	}
	e.replicas(d)
}

func (e *entry) replicas(d *types.DeployConfig) {
	key := at("deploy", "replicas")
	n := d.Replicas
	if e.c.Scale != nil {
		if n != nil && *n != *e.c.Scale {
			e.bad(at("scale"), "%d here and %d in deploy.replicas: give one", *e.c.Scale, *n)
		}
		key, n = at("scale"), e.c.Scale
	}
	switch {
	case e.spec.Mode == holdfast.Global && n != nil:
		e.bad(key, "a global service has one replica on each node: leave it out")
	case e.spec.Mode == holdfast.Global:
		return
	case n == nil:
		fill(e, "replicas", &e.spec.Replicas, 1, false)
	case *n < 0 || *n > maxReplicas:
		e.bad(key, "%d replicas: must be between 0 and %d", *n, maxReplicas)
	default:
		e.spec.Replicas = *n
	}
}

// several reports whether more than one replica may run.
func (e *entry) several() bool { return e.spec.Mode == holdfast.Global || e.spec.Replicas > 1 }

// restart settles what happens after a replica ended: deploy.restart_policy, else restart, else the default.
func (e *entry) restart() {
	r := &e.spec.Restart
	set := e.restartKey()
	if e.c.Deploy != nil && e.c.Deploy.RestartPolicy != nil {
		set = e.restartPolicy(e.c.Deploy.RestartPolicy) || set
	}
	switch {
	case set:
	case e.job, e.oneShot:
		fill(e, "restart.condition", &r.Condition, "on-failure", false)
		fill(e, "restart.maxAttempts", &r.MaxAttempts, defaultOneShotRetries, r.MaxAttempts != 0)
	default:
		fill(e, "restart.condition", &r.Condition, "any", false)
	}
	if e.oneShot && r.Condition == "any" {
		e.remark(at(), "others wait for it to complete, but it is restarted whenever it ends: use restart: on-failure")
	}
	fill(e, "restart.delay", &r.Delay, defaultRestartDelay, e.sets("deploy", "restart_policy", "delay"))
	fill(e, "restart.maxDelay", &r.MaxDelay, max(defaultRestartMax, r.Delay), false)
	fill(e, "restart.window", &r.Window, defaultRestartWindow, e.sets("deploy", "restart_policy", "window"))
}

// restartKey reads Compose's restart: no, always, on-failure[:n], unless-stopped.
func (e *entry) restartKey() bool {
	r := &e.spec.Restart
	word, count, counted := strings.Cut(e.c.Restart, ":")
	switch word {
	case "":
		return false
	case "no":
		r.Condition = "none"
	case "always", "unless-stopped":
		r.Condition = "any"
	case "on-failure":
		r.Condition = "on-failure"
		if counted {
			n, err := strconv.ParseUint(count, 10, 31)
			if err != nil {
				e.bad(at("restart"), "%q: on-failure takes a number of attempts, as in on-failure:5", e.c.Restart)
			}
			r.MaxAttempts = int(n)
		}
		return true
	default:
		e.bad(at("restart"), "unknown policy %q: use no, always, on-failure, on-failure:<attempts> or unless-stopped", e.c.Restart)
	}
	if counted {
		e.bad(at("restart"), "%q: only on-failure takes a number of attempts", e.c.Restart)
	}
	return true
}

func (e *entry) restartPolicy(p *types.RestartPolicy) bool {
	r := &e.spec.Restart
	if p.Delay != nil {
		r.Delay = e.duration(at("deploy", "restart_policy", "delay"), *p.Delay)
	}
	if p.Window != nil {
		r.Window = e.duration(at("deploy", "restart_policy", "window"), *p.Window)
	}
	if p.MaxAttempts != nil {
		r.MaxAttempts = int(min(*p.MaxAttempts, 1<<31-1))
	}
	if p.Condition == "" {
		return false
	}
	if !slices.Contains([]string{"any", "on-failure", "none"}, p.Condition) {
		e.bad(at("deploy", "restart_policy", "condition"), "unknown condition %q: use any, on-failure or none", p.Condition)
	}
	r.Condition = p.Condition
	return true
}

// updates settles how one release gives way to another, and back.
func (e *entry) updates() {
	d := cmp.Or(e.c.Deploy, &types.DeployConfig{})
	order := "start-first"
	if why := e.stopFirst(); why != "" {
		order = "stop-first"
	}
	e.spec.Update = e.update("update_config", d.UpdateConfig, holdfast.Update{
		Order: order, Parallelism: defaultParallelism, Monitor: defaultMonitor, FailureAction: "rollback",
	})
	back := e.spec.Update
	back.FailureAction, back.Parallelism, back.Delay, back.MaxFailureRatio = "pause", 0, 0, 0
	e.spec.Rollback = e.update("rollback_config", d.RollbackConfig, back)
	if e.spec.Rollback.FailureAction == "rollback" {
		e.bad(at("deploy", "rollback_config", "failure_action"), "a rollback is not rolled back: use pause or continue")
	}
}

// stopFirst says why an old replica must be gone before its successor starts, or "".
func (e *entry) stopFirst() string {
	switch {
	case e.spec.Kind == holdfast.Stateful && e.dataMount() != "":
		return "two replicas must not write the same data"
	case e.spec.NetworkMode == "host":
		return "two replicas cannot listen on the same port of the node"
	}
	for _, a := range e.spec.Networks {
		if a.IPv4.IsValid() {
			return "two replicas cannot have the same address"
		}
	}
	return ""
}

var failureActions = []string{"rollback", "pause", "continue"}

// update reads update_config or rollback_config over its defaults.
func (e *entry) update(key string, c *types.UpdateConfig, u holdfast.Update) holdfast.Update {
	where := func(k string) []any { return at("deploy", key, k) }
	set := func(k, specKey string) bool {
		if c != nil && e.sets(where(k)...) {
			return true
		}
		e.defaulted = append(e.defaulted, map[string]string{"update_config": "update.", "rollback_config": "rollback."}[key]+specKey)
		return false
	}
	if set("order", "order") {
		u.Order = c.Order
		if why := e.stopFirst(); u.Order == "start-first" && why != "" {
			e.bad(where("order"), "start-first cannot be used: %s", why)
		}
	}
	if set("parallelism", "parallelism") && c.Parallelism != nil {
		u.Parallelism = int(min(*c.Parallelism, maxReplicas))
	}
	if set("delay", "delay") {
		u.Delay = e.duration(where("delay"), c.Delay)
	}
	if set("monitor", "monitor") {
		u.Monitor = e.duration(where("monitor"), c.Monitor)
	}
	if set("failure_action", "failureAction") {
		u.FailureAction = c.FailureAction
		if !slices.Contains(failureActions, c.FailureAction) {
			e.bad(where("failure_action"), "unknown action %q: use %s", c.FailureAction, orList(failureActions))
		}
	}
	if set("max_failure_ratio", "maxFailureRatio") {
		u.MaxFailureRatio = decimal(c.MaxFailureRatio)
		if c.MaxFailureRatio < 0 || c.MaxFailureRatio > 1 {
			e.bad(where("max_failure_ratio"), "must be between 0 and 1")
		}
	}
	u.Deadline = deadline(e.spec.Health.Readiness)
	return u
}

var constraint = regexp.MustCompile(`^\s*(node\.(?:id|hostname|name|role|platform\.os|platform\.arch|labels\.[\w.\-/]+))\s*(==|!=)\s*(\S.*)$`)

func (e *entry) placement() {
	if e.c.Deploy == nil {
		return
	}
	p := e.c.Deploy.Placement
	for i, text := range p.Constraints {
		if !constraint.MatchString(text) {
			e.badItem(at("deploy", "placement", "constraints", i), text,
				"%q is not a constraint: write node.labels.<name> == <value>, or != and node.id, node.hostname, node.role, node.platform.os, node.platform.arch", text)
		}
	}
	e.spec.Placement.Constraints = p.Constraints
	for i, pref := range p.Preferences {
		if label, ok := strings.CutPrefix(pref.Spread, "node.labels."); !ok || label == "" {
			e.bad(at("deploy", "placement", "preferences", i, "spread"), "%q is not a node label: write node.labels.<name>", pref.Spread)
		}
		e.spec.Placement.Spread = append(e.spec.Placement.Spread, pref.Spread)
	}
	e.spec.Placement.MaxPerNode = int(min(p.MaxReplicas, maxReplicas))
}

func (e *entry) logging() {
	c, out := e.c.Logging, &e.spec.Logging
	if c == nil {
		c = &types.LoggingConfig{}
	}
	out.Driver = c.Driver
	if !slices.Contains([]string{"", "json-file", "local", "none"}, c.Driver) {
		e.cannot(at("logging", "driver"), "driver %q is not done: output is kept on the node (json-file or local) or not (none); "+
			"read it with `holdfast logs`", c.Driver)
	}
	for _, name := range sortedKeys(c.Options) {
		where, value := at("logging", "options", name), c.Options[name]
		switch name {
		case "max-size":
			n, err := units.RAMInBytes(value)
			if err != nil || n < 4096 {
				e.bad(where, "%q is not a size of at least 4k", value)
			}
			out.MaxBytes = n
		case "max-file":
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil || n == 0 {
				e.bad(where, "%q is not a number of files", value)
			}
			out.MaxFiles = int(n)
		default:
			e.cannot(where, "is not done: max-size and max-file are")
		}
	}
	fill(e, "logging.maxBytes", &out.MaxBytes, defaultLogBytes, out.MaxBytes != 0)
	fill(e, "logging.maxFiles", &out.MaxFiles, defaultLogFiles, out.MaxFiles != 0)
}
