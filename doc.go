// Package holdfast holds the nouns of the system and its kinds of error.
//
// An App is a Compose project. Each Service in it is one server, stateless or stateful. A Release is an immutable
// version of a service; a Replica is one running, one-shot instance of a release in a slot on a Node. What a replica is
// meant to do (Replica) is written by the control loop only; what it really does (Status) by its node's agent only.
//
// The package imports only the standard library; every other package of the module may import it.
package holdfast
