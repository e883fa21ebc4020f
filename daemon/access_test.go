package daemon

import "testing"

// TestGatewayReadsOnlyFilesOfRoutes: the gateway's process faces strangers, and must not have services' secrets.
func TestGatewayReadsOnlyFilesOfRoutes(t *testing.T) {
	for key, want := range map[string]bool{
		"holdfast/services/shop/web":                  true,
		"holdfast/files/shop/password/sha256:1":       false,
		"holdfast/files/shop/gateway:users/sha256:1":  true,
		"holdfast/files/gateway:x/password/sha256:1":  false,
		"holdfast/files/gateway:x":                    false,
		"holdfast/files/a/gateway:b/password/sha256:": false,
		"holdfast/events/1":                           false,
	} {
		if got := gatewayAccess.Read(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}
