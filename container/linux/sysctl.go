//go:build linux

package linux

import (
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

var ipcSysctls = []string{
	"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
	"kernel/shm_rmid_forced",
}

// parseSysctls returns the settings, by paths below /proc/sys, in order. Those that are not a namespace's own would
// change the node, and are refused.
func parseSysctls(settings map[string]string, opt container.ParkOptions) ([][2]string, error) {
	var list [][2]string
	for name, value := range settings {
		p := sysctlPath(name)
		switch {
		case strings.Contains(p, "..") || strings.HasPrefix(p, "/") || strings.ContainsRune(value, 0):
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "sysctl %q is not one", name)
		case strings.HasPrefix(p, "net/") && !opt.HostNet:
		case (strings.HasPrefix(p, "fs/mqueue/") || slices.Contains(ipcSysctls, p)) && !opt.HostIPC:
		default:
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "sysctl %s belongs to the node, not to this container", name)
		}
		list = append(list, [2]string{p, value})
	}
	slices.SortFunc(list, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return list, nil
}

// sysctlPath converts a.b or a/b; with slashes, dots are part of names (net/ipv4/conf/eth0.1/…).
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '/' {
		return name
	}
	return strings.Map(func(c rune) rune {
		switch c {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return c
	}, name)
}
