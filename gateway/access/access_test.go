package access

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestEntryIsOneLineOfJSON(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, 1)
	e := &Entry{
		Start: time.Unix(1, 0), Method: "GET", Host: "a\"b\\\n\x7f", Path: "/\xff?é=\x00", Status: 502, Tries: 2,
		Took: 1500 * time.Microsecond, Error: "broken",
	}
	l.Write(e)
	if bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Fatalf("not one line: %q", out.String())
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if got["host"] != e.Host || got["path"] != "/\ufffd?é=\x00" || got["us"] != 1500.0 || got["tries"] != 2.0 {
		t.Errorf("got %v", got)
	}
}

func TestWantsFailuresWhateverTheSample(t *testing.T) {
	l := New(nil, 0)
	if !l.Wants(502) || l.Wants(200) {
		t.Errorf("502: %v, 200: %v; want true, false", l.Wants(502), l.Wants(200))
	}
	if (*Log)(nil).Wants(502) {
		t.Error("a nil log wants an entry")
	}
}
