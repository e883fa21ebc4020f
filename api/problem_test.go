package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
)

func TestKindsSurviveTheWire(t *testing.T) {
	for _, kind := range []error{
		holdfast.ErrInvalid, holdfast.ErrNotFound, holdfast.ErrConflict, holdfast.ErrUnavailable, holdfast.ErrUnsupported, nil,
	} {
		err := errors.New("the reason")
		if kind != nil {
			err = fmt.Errorf("do it: %w", holdfast.Errorf(kind, "the %s", "reason"))
		}
		got := unproblem(problem(err))
		if holdfast.KindOf(got) != kind || got.Error() != err.Error() {
			t.Errorf("%v of kind %v came back as %v of kind %v", err, kind, got, holdfast.KindOf(got))
		}
	}
}

func TestResponseError(t *testing.T) {
	tests := []struct {
		status      int
		contentType string
		body        string
		kind        error
		text        string
	}{
		{404, "text/plain", "404 page not found", holdfast.ErrUnsupported, "the agent does not know GET /v1/new: it may be of another version"},
		{405, "text/plain", "", holdfast.ErrUnsupported, "the agent does not know GET /v1/new: it may be of another version"},
		{422, "application/problem+json", `{"status":422,"detail":"validation failed","errors":[{"message":"expected integer","location":"body.replicas","value":"x"},{"message":"also"}]}`,
			holdfast.ErrInvalid, "validation failed; body.replicas: expected integer; also"},
		{400, "application/problem+json", `{"status":400,"detail":"bad"}`, holdfast.ErrInvalid, "bad"},
		{503, "text/html", "<html>", holdfast.ErrUnavailable, "the agent answered 503 Service Unavailable"},
		{500, "application/problem+json", `{"type":"urn:holdfast:error:internal","status":500,"detail":"disk"}`, nil, "disk"},
		{409, "application/problem+json", `{}`, holdfast.ErrConflict, "conflict"},
		{500, "application/problem+json", `{`, nil, "read the agent's error (500 Internal Server Error): unexpected end of JSON input"},
	}
	for _, tt := range tests {
		resp := &http.Response{
			StatusCode: tt.status, Status: fmt.Sprintf("%d %s", tt.status, http.StatusText(tt.status)),
			Header:  http.Header{"Content-Type": {tt.contentType}},
			Request: &http.Request{Method: "GET", URL: &url.URL{Path: "/v1/new"}},
		}
		err := responseError(resp, []byte(tt.body))
		if holdfast.KindOf(err) != tt.kind || err.Error() != tt.text {
			t.Errorf("%d %s: %q of kind %v", tt.status, tt.body, err, holdfast.KindOf(err))
		}
	}
}

func TestStreamThatFails(t *testing.T) {
	const text = `{"text":"one"}` + "\n" + `{"text":"two"}` + "\n" +
		`{"error":{"type":"urn:holdfast:error:not-found","status":404,"detail":"gone"}}` + "\n" + `{"text":"never"}` + "\n"
	var got []string
	var last error
	for l, err := range readStream[LogLine](strings.NewReader(text)) {
		got, last = append(got, l.Text), err
	}
	if strings.Join(got, " ") != "one two " || !errors.Is(last, holdfast.ErrNotFound) || last.Error() != "gone" {
		t.Errorf("stream gave %q and %v", got, last)
	}
}

func TestStreamThatIsCut(t *testing.T) {
	r := io.MultiReader(strings.NewReader(`{"text":"one"}`+"\n"+`{"te`), errReader{})
	var last error
	n := 0
	for _, err := range readStream[LogLine](r) {
		n, last = n+1, err
	}
	if n != 2 || last == nil {
		t.Errorf("a cut stream gave %d values and %v", n, last)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestNearest(t *testing.T) {
	names := []string{"web", "api", "database", "site"}
	for name, want := range map[string]string{
		"wbe": "web", "weeb": "web", "databse": "database", "sites": "site", "postgres": "", "x": "", "ap": "api", "": "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
}
