package holdfast

import "time"

// CertSource says where the certificate of a route's host comes from.
type CertSource string

// Sources of certificates. A route whose host has none is served in clear text only.
const (
	CertAuto  CertSource = "auto"  // an ACME certificate authority, such as Let's Encrypt
	CertLocal CertSource = "local" // the cluster's own authority, for development
	CertFiles CertSource = "files" // a certificate and key of the app's secrets
)

// TLS is how a route's host is served over HTTPS. Clients of it that come in clear text are sent there.
type TLS struct {
	From CertSource `json:"from"`
	Cert FileRef    `json:"cert,omitzero"`  // for CertFiles: PEM, the leaf first
	Key  FileRef    `json:"key,omitzero"`   // for CertFiles: PEM
	HSTS Duration   `json:"hsts,omitempty"` // how long clients are told to use HTTPS only; 0 says nothing
}

// FileRef names a File of the route's app that gateways read. Its Name starts with GatewayFilePrefix.
type FileRef struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Sealed is a value that the gateways of the cluster share and others must not read: certificates' keys, accounts.
type Sealed struct {
	Key      string    `json:"key"`  // name of the key that seals it
	Name     string    `json:"name"` // path-like
	Modified time.Time `json:"modified"`
	Data     []byte    `json:"data"` // encrypted and authenticated, Name included
}
