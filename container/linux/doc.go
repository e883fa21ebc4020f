//go:build linux

// Package linux runs containers on this machine's kernel: it is our own implementation of container.Runtime, in pure
// Go, and lives inside the supervisor process. It owns namespaces, mounts, cgroups and the life of their processes.
//
// A sandbox is parked ahead: a child of the zygote (package initproc) waits in new namespaces and cgroups. Start
// assembles the root file system from outside, on a thread that visits the child's mount namespace, where every path
// that an image or a volume could have tampered with is resolved by openat2(RESOLVE_IN_ROOT) and used as a descriptor.
// Then the child gets the list of its last system calls, up to execve.
//
// Needs Linux 5.12. Image files are mounted directly since 6.12, through a loop device before; user namespaces are the
// default where overlayfs takes id-mapped layers (5.19).
//
// May import only the root package, container, its own sub-packages, container/seccomp and libraries.
package linux
