package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/holdfast/holdfast"
)

// Digest returns "sha256:<hex>" of spec. Equal specs have equal digests; KindReason, which only explains, and Replicas,
// which is scaling and no change of what runs, do not count.
func Digest(spec holdfast.Spec) string {
	spec.KindReason, spec.Replicas = "", 0
	data, err := json.Marshal(spec) // struct fields in order, map keys sorted
	if err != nil {
		panic("plan: a Spec holds only what JSON can write: " + err.Error())
	}
	return digestOf(data)
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
