package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast/holdfast"
)

// problemType prefixes the type of each problem; a kind's name follows.
const problemType = "urn:holdfast:error:"

// Errors of exec. They are of a kind, too.
var (
	// ErrNoProgram: the replica has no such program. Also ErrNotFound.
	ErrNoProgram = holdfast.Errorf(holdfast.ErrNotFound, "no such program")
	// ErrNotExecutable: there is such a file, and it cannot be run. Also ErrInvalid.
	ErrNotExecutable = holdfast.Errorf(holdfast.ErrInvalid, "not executable")
)

// kinds maps each kind of error to its name on the wire and its HTTP status, both ways; narrow ones come first.
var kinds = []struct {
	kind   error
	name   string
	status int
}{
	{ErrNoProgram, "no-program", http.StatusNotFound},
	{ErrNotExecutable, "not-executable", http.StatusUnprocessableEntity},
	{holdfast.ErrInvalid, "invalid", http.StatusUnprocessableEntity},
	{holdfast.ErrNotFound, "not-found", http.StatusNotFound},
	{holdfast.ErrConflict, "conflict", http.StatusConflict},
	{holdfast.ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
	{holdfast.ErrUnsupported, "unsupported", http.StatusNotImplemented},
}

// narrow is how many of kinds are narrower than the root package's.
const narrow = 2

// problem turns err into what the wire carries. The text of an error without a kind goes over too: the caller is root.
func problem(err error) *huma.ErrorModel {
	var model *huma.ErrorModel
	if errors.As(err, &model) {
		return model
	}
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return &huma.ErrorModel{Type: problemType + k.name, Title: http.StatusText(k.status), Status: k.status, Detail: err.Error()}
		}
	}
	const status = http.StatusInternalServerError
	return &huma.ErrorModel{Type: problemType + "internal", Title: http.StatusText(status), Status: status, Detail: err.Error()}
}

// unproblem turns what the wire carried back into an error of the kind that it was.
func unproblem(m *huma.ErrorModel) error {
	text := m.Detail
	for _, d := range m.Errors {
		if d != nil {
			text += "; " + detailText(d)
		}
	}
	if text == "" {
		text = strings.ToLower(http.StatusText(m.Status))
	}
	name := strings.TrimPrefix(m.Type, problemType)
	for _, k := range kinds {
		if k.name == name {
			return holdfast.Errorf(k.kind, "%s", text)
		}
	}
	if name == "internal" {
		return errors.New(text)
	}
	return statusError(m.Status, text)
}

func detailText(d *huma.ErrorDetail) string {
	if d.Location == "" {
		return d.Message
	}
	return d.Location + ": " + d.Message
}

// statusError makes an error of a status that came without one of our problem types.
func statusError(status int, text string) error {
	if status == http.StatusBadRequest {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s", text)
	}
	for _, k := range kinds[narrow:] {
		if k.status == status {
			return holdfast.Errorf(k.kind, "%s", text)
		}
	}
	return errors.New(text)
}

// responseError reads the error that an answer of status 400 or above carries.
func responseError(resp *http.Response, body []byte) error {
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		// No operation of ours answered: the agent does not have this one.
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed {
			return holdfast.Errorf(holdfast.ErrUnsupported, "the agent does not know %s %s: it may be of another version",
				resp.Request.Method, resp.Request.URL.Path)
		}
		return statusError(resp.StatusCode, fmt.Sprintf("the agent answered %s", resp.Status))
	}
	var m huma.ErrorModel
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("read the agent's error (%s): %w", resp.Status, err)
	}
	if m.Status == 0 {
		m.Status = resp.StatusCode
	}
	return unproblem(&m)
}
