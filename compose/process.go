package compose

import (
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
	"golang.org/x/sys/unix"
)

func (e *entry) process() {
	c := &e.c
	p := &e.spec.Process
	p.Entrypoint, p.Command = c.Entrypoint, c.Command
	for _, name := range sortedKeys(c.Environment) {
		if why := envProblem(name); why != "" {
			e.bad(at("environment", name), "%s", why)
		}
	}
	p.Env = envList(c.Environment)
	if c.WorkingDir != "" && !strings.HasPrefix(c.WorkingDir, "/") {
		e.bad(at("working_dir"), "%q must be an absolute path in the container", c.WorkingDir)
	}
	p.WorkingDir, p.User, p.GroupAdd = c.WorkingDir, c.User, c.GroupAdd
	p.TTY, p.Stdin = c.Tty, c.StdinOpen
	if c.Umask != nil {
		if *c.Umask > 0o777 {
			e.bad(at("umask"), "must be between 0 and 0777")
		}
		p.Umask = "0" + strconv.FormatUint(uint64(*c.Umask), 8)
	}
	if c.Init != nil {
		p.Init = *c.Init
	}
	if c.OomScoreAdj < -1000 || c.OomScoreAdj > 1000 {
		e.bad(at("oom_score_adj"), "must be between -1000 and 1000")
	}
	p.OOMScoreAdj = int(c.OomScoreAdj)
	if c.StopSignal != "" && !validSignal(c.StopSignal) {
		e.bad(at("stop_signal"), "unknown signal %q: write a name such as SIGTERM, or a number from 1 to 64", c.StopSignal)
	}
	p.StopSignal = c.StopSignal
	if c.StopGracePeriod != nil {
		p.StopGrace = e.duration(at("stop_grace_period"), *c.StopGracePeriod)
	}
	fill(e, "process.stopGrace", &p.StopGrace, defaultStopGrace, c.StopGracePeriod != nil)
	e.spec.Hostname, e.spec.Domainname = c.Hostname, c.DomainName
	if c.Hostname != "" && !validHostname(c.Hostname) {
		e.bad(at("hostname"), "%q is not a host name: letters, digits, - and dots, at most 63 a label", c.Hostname)
	}
}

// duration refuses negative durations.
func (e *entry) duration(where []any, d types.Duration) holdfast.Duration {
	if d < 0 {
		e.bad(where, "%s is negative: durations start at 0s", time.Duration(d))
	}
	return holdfast.Duration(d)
}

// validSignal reports whether s is a signal as Docker takes it: TERM, SIGTERM, 15, SIGRTMIN+3.
func validSignal(s string) bool {
	if n, err := strconv.Atoi(s); err == nil {
		return n >= 1 && n <= 64
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for _, rt := range []string{"RTMIN", "RTMAX"} {
		if rest, ok := strings.CutPrefix(name, rt); ok {
			if rest == "" {
				return true
			}
			n, err := strconv.Atoi(rest)
			return err == nil && n >= -30 && n <= 30
		}
	}
	return unix.SignalNum("SIG"+name) != 0
}

// validHostname follows RFC 1123.
func validHostname(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return false
			}
		}
	}
	return true
}
