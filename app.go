package holdfast

import (
	"net/netip"
	"time"
)

// App is a Compose project as it was last deployed: what its services share.
type App struct {
	Name     string             `json:"name"`
	Networks map[string]Network `json:"networks,omitempty"` // by the name the Compose file uses
	Volumes  map[string]Volume  `json:"volumes,omitempty"`  // by the name the Compose file uses
	Updated  time.Time          `json:"updated"`
	Removing bool               `json:"removing,omitempty"` // `down` was asked for; gone when its last replica is
}

// Deployment is what `up` sends: the whole wanted app, secrets included. It is never stored as such.
type Deployment struct {
	Name     string             `json:"name"`
	Services []Spec             `json:"services"` // sorted by name
	Networks map[string]Network `json:"networks,omitempty"`
	Volumes  map[string]Volume  `json:"volumes,omitempty"`
	Files    []File             `json:"files,omitempty"` // content of secrets and configs that the services mount
	// RemoveOrphans removes services of the app that the deployment no longer names.
	RemoveOrphans bool `json:"removeOrphans,omitempty"`
	// ForceRecreate makes a new release of each service even if its spec did not change.
	ForceRecreate bool `json:"forceRecreate,omitempty"`
}

// Network is a network of an app. Replicas on different networks cannot reach each other.
type Network struct {
	Name     string            `json:"name"`               // name in the cluster, unique: "<app>_<key>" unless the file says
	Driver   string            `json:"driver,omitempty"`   // "" or "bridge"/"overlay": routed; others are refused on load
	Internal bool              `json:"internal,omitempty"` // no way out of the cluster
	Subnet   netip.Prefix      `json:"subnet,omitzero"`    // given by the file or allotted at deploy
	External bool              `json:"external,omitempty"` // belongs to another app or to nobody; never removed with this one
	Labels   map[string]string `json:"labels,omitempty"`
}

// Volume is a named volume of an app.
type Volume struct {
	Name       string            `json:"name"` // name in the cluster, unique: "<app>_<key>" unless the file says
	Driver     string            `json:"driver,omitempty"`
	DriverOpts map[string]string `json:"driverOpts,omitempty"` // type, o, device of the local driver
	External   bool              `json:"external,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

// File is the content of a secret or config, addressed by the digest of its data: a release names the exact content.
type File struct {
	App    string `json:"app"`
	Name   string `json:"name"`
	Secret bool   `json:"secret,omitempty"`
	Digest string `json:"digest"` // "sha256:<hex>" of Data
	Data   []byte `json:"data,omitempty"`
}
