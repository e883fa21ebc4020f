//go:build linux

package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container/linux/initproc"
)

var capNames = []string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

const allCaps = 1<<41 - 1

// capSets are a process's capability sets as bit masks.
type capSets struct{ bounding, effective, permitted, inheritable, ambient uint64 }

// parseCaps converts c. Sets that the kernel would refuse, such as an effective capability that is not permitted, are
// cut to what it takes; a capability that this machine does not have is left out.
func parseCaps(c *specs.LinuxCapabilities, available uint64) (sets capSets, err error) {
	if c == nil {
		return capSets{}, nil
	}
	for _, s := range []struct {
		names []string
		mask  *uint64
	}{
		{c.Bounding, &sets.bounding}, {c.Effective, &sets.effective}, {c.Permitted, &sets.permitted},
		{c.Inheritable, &sets.inheritable}, {c.Ambient, &sets.ambient},
	} {
		if *s.mask, err = capMask(s.names); err != nil {
			return capSets{}, err
		}
		*s.mask &= available
	}
	sets.effective &= sets.permitted
	sets.ambient &= sets.permitted & sets.inheritable
	return sets, nil
}

func capMask(names []string) (mask uint64, err error) {
	for _, name := range names {
		bit, ok := capBit(name)
		if !ok {
			return 0, holdfast.Errorf(holdfast.ErrInvalid, "capability %q: no such capability", name)
		}
		mask |= 1 << bit
	}
	return mask, nil
}

func capBit(name string) (int, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	for i, n := range capNames {
		if n == name {
			return i, true
		}
	}
	return 0, false
}

// ownBounding is the bounding set of this process.
func ownBounding() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, fmt.Errorf("read own capabilities: no CapBnd line")
}

// dropBounding removes all but the sets' bounding capabilities for ever.
func (p *program) dropBounding(sets capSets, lastCap int) {
	for bit := range lastCap + 1 {
		if sets.bounding&(1<<bit) == 0 {
			p.do("drop capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, bit)
		}
	}
}

// setCaps sets the other sets. It is the last step that needs any of them.
func (p *program) setCaps(sets capSets) {
	const version3 = 0x20080522
	half := func(mask uint64, high bool) uint32 {
		if high {
			return uint32(mask >> 32)
		}
		return uint32(mask)
	}
	var header, data []byte
	header = appendUint32(header, version3, 0)
	for _, high := range []bool{false, true} {
		data = appendUint32(data, half(sets.effective, high), half(sets.permitted, high), half(sets.inheritable, high))
	}
	p.do("set capabilities", unix.SYS_CAPSET, p.bytes(header), p.bytes(data))
	p.do("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0).Flags = initproc.IgnoreError
	for bit := range capNames {
		if sets.ambient&(1<<bit) != 0 {
			p.do("raise ambient capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, bit, 0, 0)
		}
	}
}

// lastCap is the highest capability that the kernel knows.
func lastCap() (int, error) {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, fmt.Errorf("read last capability: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read last capability: %w", err)
	}
	return n, nil
}
