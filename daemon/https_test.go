package daemon

import "testing"

func TestGatewayWrites(t *testing.T) {
	for key, want := range map[string]bool{
		"holdfast/drains/r/n": true, "holdfast/sealed/k/a/b": true, "holdfast/leaders/certificates/x": true,
		"holdfast/leaders/control": false, "holdfast/files/a/gateway:x/d": false, "holdfast/services/a/b": false, "other": false,
	} {
		if got := gatewayWrites(key); got != want {
			t.Errorf("%s: %v", key, got)
		}
	}
	for key, want := range map[string]bool{
		"holdfast/files/a/password/d": false, "holdfast/files/a/gateway:cert/d": true, "holdfast/sealed/k/a": true,
	} {
		if got := gatewayAccess.Read(key); got != want {
			t.Errorf("read %s: %v", key, got)
		}
	}
}

func TestHTTPSDefault(t *testing.T) {
	for http, want := range map[string]string{"": ":443", ":80": ":443", ":8080": "off", "off": "off"} {
		if got := (Config{HTTP: http}).Defaults().HTTPS; got != want {
			t.Errorf("beside %q HTTPS is at %q", http, got)
		}
	}
}
