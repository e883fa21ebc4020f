package seccomp

import (
	"errors"
	"testing"

	"github.com/holdfast/holdfast"
)

func TestParseDockerProfiles(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		bad        bool
	}{
		{"minimal", `{"defaultAction": "SCMP_ACT_ALLOW"}`, false},
		{"deny one", `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]}`, false},
		{"no JSON", `{`, true},
		{"unknown action", `{"defaultAction": "SCMP_ACT_MAYBE"}`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse([]byte(tc.text), nil)
			if tc.bad != errors.Is(err, holdfast.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
		})
	}
}
