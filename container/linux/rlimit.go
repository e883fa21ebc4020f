//go:build linux

package linux

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

var rlimitNumbers = map[string]int{
	"CPU": unix.RLIMIT_CPU, "FSIZE": unix.RLIMIT_FSIZE, "DATA": unix.RLIMIT_DATA, "STACK": unix.RLIMIT_STACK,
	"CORE": unix.RLIMIT_CORE, "RSS": unix.RLIMIT_RSS, "NPROC": unix.RLIMIT_NPROC, "NOFILE": unix.RLIMIT_NOFILE,
	"MEMLOCK": unix.RLIMIT_MEMLOCK, "AS": unix.RLIMIT_AS, "LOCKS": unix.RLIMIT_LOCKS,
	"SIGPENDING": unix.RLIMIT_SIGPENDING, "MSGQUEUE": unix.RLIMIT_MSGQUEUE, "NICE": unix.RLIMIT_NICE,
	"RTPRIO": unix.RLIMIT_RTPRIO, "RTTIME": unix.RLIMIT_RTTIME,
}

// parseRlimits converts limits. None gets above this process's own hard limit: without CAP_SYS_RESOURCE the kernel
// would refuse it.
func parseRlimits(list []specs.POSIXRlimit) ([]rlimit, error) {
	var limits []rlimit
	for _, l := range list {
		number, ok := rlimitNumbers[strings.TrimPrefix(strings.ToUpper(l.Type), "RLIMIT_")]
		if !ok {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "limit %q: no such limit", l.Type)
		}
		if l.Soft > l.Hard {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "limit %s: soft limit %d is above the hard limit %d", l.Type, l.Soft, l.Hard)
		}
		var own unix.Rlimit
		if err := unix.Getrlimit(number, &own); err != nil {
			return nil, err
		}
		limits = append(limits, rlimit{name: l.Type, resource: number, soft: min(l.Soft, own.Max), hard: min(l.Hard, own.Max)})
	}
	return limits, nil
}
