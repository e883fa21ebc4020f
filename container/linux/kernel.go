//go:build linux

package linux

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// kernelVersion is the running kernel's, 6.18 as 6018.
var kernelVersion = sync.OnceValue(func() int {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return 0
	}
	return major*1000 + minor
})

const (
	kernelNeeded   = 5012 // mount_setattr
	kernelDetached = 6015 // overlayfs takes layers that are mounted nowhere
)

func detachedLayers() bool { return kernelVersion() >= kernelDetached }
