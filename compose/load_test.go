package compose

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestTry(t *testing.T) {
	f := os.Getenv("TRY")
	if f == "" {
		t.Skip()
	}
	p, err := Load(context.Background(), Options{Files: []string{f}})
	if err != nil {
		t.Fatalf("%v", err)
	}
	out, _ := json.MarshalIndent(p.Deployment, "", " ")
	t.Logf("%s\n%v\n%v", out, p.Notes, p.Sources)
}

var _ = filepath.Join
