// Package api is the HTTP API of an agent on a unix socket, its OpenAPI document, and the Go client that the CLI is
// built on.
//
// The server holds no logic of its own: it reads views out of the store's snapshot, commits what package plan decides,
// and forwards the rest to the small interfaces of seams.go, which the wiring fills. Three shapes of answer exist: one
// JSON document, a stream of JSON lines (stream.go), and an upgraded connection (frame.go, duplex.go). All of them are
// in the OpenAPI document at /openapi.json. Errors are RFC 9457 problems whose type names the root package's kind.
//
// May import the root package, store, plan, container (its types) and libraries.
package api
