package image

import (
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is an image that a store holds, ready to run.
type Image struct {
	// Ref is how it was asked for, in full; "" when it has no name any more.
	Ref string `json:"ref"`
	// Digest is what the reference resolves to and can be pinned to: of the index for a multi-platform image, else of
	// the manifest.
	Digest string `json:"digest"`
	// Manifest is the digest of this platform's manifest.
	Manifest string `json:"manifest"`
	// Config is the image's configuration: Config.Config has entrypoint, command, environment, user, …
	Config v1.ConfigFile `json:"config"`
	Layers []Layer       `json:"layers"` // lowest first
	// EROFS is the file that holds the flattened root file system, or "" where the kernel cannot mount one.
	EROFS string `json:"erofs,omitempty"`
	// Dirs holds the one directory that has the flattened root file system when EROFS is "".
	Dirs    []string  `json:"dirs,omitempty"`
	Size    int64     `json:"size"` // bytes on disk: layers as stored and the root file system
	Created time.Time `json:"created,omitzero"`
	Pulled  time.Time `json:"pulled,omitzero"` // when the reference was last resolved or imported
}

// Layer is one layer of an image as it is stored and sent.
type Layer struct {
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
}

// Step is what a store or builder is doing.
type Step string

// Steps of getting an image.
const (
	Resolving   Step = "resolve"
	Downloading Step = "download"
	Waiting     Step = "wait" // for another download of the same layer
	Retrying    Step = "retry"
	Unpacking   Step = "unpack"
	Importing   Step = "import"
	Building    Step = "build"
	Done        Step = "done"
)

// Progress tells how far getting an image has come.
type Progress struct {
	Step    Step   `json:"step"`
	Layer   string `json:"layer,omitempty"`   // digest; "" when it is about the image
	Current int64  `json:"current,omitempty"` // bytes
	Total   int64  `json:"total,omitempty"`   // bytes; 0 unknown
	Text    string `json:"text,omitempty"`
}

// ProgressFunc takes progress. It is called by one goroutine at a time and must be quick.
type ProgressFunc func(Progress)
