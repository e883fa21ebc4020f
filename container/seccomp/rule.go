package seccomp

import (
	"cmp"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// ruleSet is a profile, checked and in terms of seccomp(2), before it meets an architecture.
type ruleSet struct {
	fallback uint32            // verdict when no rule matches
	calls    map[string][]rule // by name, in the profile's order
}

// rule gives a verdict when all conditions hold.
type rule struct {
	conds  []cond // at most one per argument
	action uint32 // SECCOMP_RET_*
}

// cond compares one argument, after masking, with a value.
type cond struct {
	arg   uint
	op    specs.LinuxSeccompOperator
	mask  uint64 // all ones but for OpMaskedEqual
	value uint64
}

const (
	maxArgs  = 6
	maxErrno = 4095
)

func rulesOf(profile *specs.LinuxSeccomp) (ruleSet, error) {
	fallback, err := actionOf(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return ruleSet{}, err
	}
	set := ruleSet{fallback: fallback, calls: map[string][]rule{}}
	for _, call := range profile.Syscalls {
		action, err := actionOf(call.Action, call.ErrnoRet)
		if err != nil {
			return ruleSet{}, err
		}
		conds, err := condsOf(call.Args)
		if err != nil {
			return ruleSet{}, err
		}
		if action == fallback {
			continue
		}
		for _, name := range call.Names {
			if name == "" {
				return ruleSet{}, holdfast.Errorf(holdfast.ErrInvalid, "a seccomp rule has an empty name")
			}
			set.calls[name] = append(set.calls[name], split(conds, action)...)
		}
	}
	return set, nil
}

// split makes one rule of conds, or one of each when an argument occurs twice.
func split(conds []cond, action uint32) []rule {
	var seen [maxArgs]bool
	twice := false
	for _, c := range conds {
		twice = twice || seen[c.arg]
		seen[c.arg] = true
	}
	if !twice {
		return []rule{{conds: conds, action: action}}
	}
	rules := make([]rule, len(conds))
	for i, c := range conds {
		rules[i] = rule{conds: []cond{c}, action: action}
	}
	return rules
}

func condsOf(args []specs.LinuxSeccompArg) ([]cond, error) {
	conds := make([]cond, 0, len(args))
	for _, a := range args {
		if a.Index >= maxArgs {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "seccomp argument index %d: system calls have %d", a.Index, maxArgs)
		}
		c := cond{arg: a.Index, op: a.Op, mask: ^uint64(0), value: a.Value}
		switch a.Op {
		case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan:
		case specs.OpMaskedEqual:
			c.mask, c.value = a.Value, a.ValueTwo&a.Value
		default:
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "unknown seccomp operator %q", a.Op)
		}
		conds = append(conds, c)
	}
	return conds, nil
}

func actionOf(act specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		if *errno > maxErrno {
			return 0, holdfast.Errorf(holdfast.ErrInvalid, "seccomp errno %d is over %d", *errno, maxErrno)
		}
		data = uint32(*errno)
	}
	switch act {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActNotify:
		return 0, holdfast.Errorf(holdfast.ErrUnsupported, "seccomp action %s is not supported", act)
	}
	return 0, holdfast.Errorf(holdfast.ErrInvalid, "unknown seccomp action %q", act)
}

// decide turns the rules of one call into the order in which they are tried: an unconditional one alone, or the
// conditional ones, strictest action first.
func decide(rules []rule) []rule {
	for _, r := range rules {
		if len(r.conds) == 0 {
			return []rule{r}
		}
	}
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b rule) int { return cmp.Compare(int32(a.action&0xffff0000), int32(b.action&0xffff0000)) })
	return rules
}

// narrow returns conds for an ABI whose arguments are 32 bits wide, and without those that always hold.
func narrow(conds []cond, wide bool) []cond {
	var kept []cond
	for _, c := range conds {
		if !wide {
			c.mask, c.value = c.mask&0xffffffff, c.value&0xffffffff
		}
		if c.op != specs.OpMaskedEqual || c.mask != 0 {
			kept = append(kept, c)
		}
	}
	return kept
}
