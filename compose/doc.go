// Package compose reads Compose files and turns them into what the cluster is asked for: a holdfast.Deployment and
// the sources of the images that no registry has.
//
// compose-go does what the Compose Specification says about interpolation, merging, extends, include, profiles and
// env files. This package adds what a user of several machines needs: every key is honoured, noted as having nothing
// to do here, or refused with its file and line (Keys is the one table of that); all mistakes of a file are
// reported, not the first one; all defaults are filled in (Defaults is the one table of that); the kind of each
// service is declared or inferred with the reason.
//
// May import the root package and libraries, nothing else of the module.
package compose
