//go:build linux

// Package supervisor is the small process of each node that is the parent of all its containers. It owns package
// linux's runtime, so that containers, their logs and their exit codes survive whatever happens to the agent, and lets
// others use it over a unix socket: Dial returns a container.Runtime.
//
// It upgrades itself by execve, keeping its process and so its children. If it is killed, containers go on, and the
// next one takes them over.
//
//	agent ── Dial ──▶ supervisor.sock ── Serve ──▶ linux.Runtime (or runc, crun) ──▶ containers
//
// The protocol is frames: four bytes of length, little endian, and as much JSON; descriptors travel with a frame's
// first byte. A connection carries requests one after the other, each answered by a reply, until one turns it into a
// stream of statuses (watch) or into the connection to a process (exec, attach).
//
// May import only the root package, container, container/linux and its sub-packages, container/oci, and libraries.
package supervisor
