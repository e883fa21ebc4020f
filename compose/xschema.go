package compose

import _ "embed"

// XHoldfastSchema is the JSON schema of Compose files with x-holdfast, for editors.
//
//go:embed x-holdfast.schema.json
var XHoldfastSchema []byte
