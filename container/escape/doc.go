// Package escape holds the tests that try to break out of a container, by the published ways: on our own runtime, with
// and without a user namespace, and on runc and crun as Debian has them.
//
// Nothing imports it.
package escape
