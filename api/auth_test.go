package api_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/api"
)

// TestCredentialsAreNotPrinted: however a pull's options end up in a log or an error, the secrets do not.
func TestCredentialsAreNotPrinted(t *testing.T) {
	opt := api.PullOptions{Auth: api.RegistryAuth{Username: "ada", Password: "enigma", IdentityToken: "enigma", RegistryToken: "enigma"}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("pull", "auth", opt.Auth)
	for _, text := range []string{
		fmt.Sprint(opt), fmt.Sprintf("%+v", opt), fmt.Sprintf("%#v", opt), fmt.Sprintf("%v", opt.Auth), fmt.Sprintf("%s", opt.Auth), log.String(),
	} {
		if strings.Contains(text, "enigma") {
			t.Errorf("printed %s", text)
		}
	}
}
