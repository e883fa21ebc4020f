package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
)

func replica(service string, slot int) *holdfast.Replica {
	return &holdfast.Replica{
		ID: fmt.Sprintf("shop-%s-%d", service, slot), App: "shop", Service: service, Slot: slot, Release: 1, Node: "n1", Desired: holdfast.Run,
	}
}

// withLogs starts an agent with two services and lines one second apart, in turn.
func withLogs(t *testing.T) *apitest.Agent {
	t.Helper()
	a := apitest.Start(t)
	a.Put(t, &holdfast.App{Name: "shop"}, &holdfast.Service{App: "shop", Name: "web"}, &holdfast.Service{App: "shop", Name: "db"},
		replica("web", 1), replica("web", 2), replica("db", 1))
	for i, id := range []string{"shop-web-1", "shop-db-1", "shop-web-2", "shop-web-1"} {
		a.Logs.Write(id, apitest.Epoch.Add(time.Duration(i)*time.Second), "stdout", fmt.Sprint("line", i))
	}
	return a
}

func TestLogs(t *testing.T) {
	a := withLogs(t)
	for _, tt := range []struct {
		name string
		req  api.LogsRequest
		want string
	}{
		{"all", api.LogsRequest{Tail: -1}, "line0 line1 line2 line3"},
		{"a service", api.LogsRequest{Tail: -1, Services: []string{"web"}}, "line0 line2 line3"},
		{"two services", api.LogsRequest{Tail: -1, Services: []string{"web", "db"}}, "line0 line1 line2 line3"},
		{"a replica", api.LogsRequest{Tail: -1, Replicas: []string{"shop-web-2"}}, "line2"},
		{"since", api.LogsRequest{Tail: -1, Since: apitest.Epoch.Add(2 * time.Second)}, "line2 line3"},
		{"tail of each", api.LogsRequest{Tail: 1}, "line1 line2 line3"},
		{"no tail", api.LogsRequest{Tail: 0}, ""},
	} {
		var got []string
		for l, err := range a.Client.Logs(t.Context(), "shop", tt.req) {
			check(t, err)
			got = append(got, l.Text)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

func TestLogsOfUnknownNames(t *testing.T) {
	a := withLogs(t)
	for _, tt := range []struct {
		app  string
		req  api.LogsRequest
		text string
	}{
		{"shpo", api.LogsRequest{}, `no app "shpo": did you mean shop?`},
		{"shop", api.LogsRequest{Services: []string{"wbe"}}, `no service "wbe": did you mean web?`},
		{"shop", api.LogsRequest{Replicas: []string{"shop-web-7"}}, `no replica "shop-web-7": did you mean shop-web-1?`},
	} {
		var last error
		for _, err := range a.Client.Logs(t.Context(), tt.app, tt.req) {
			last = err
		}
		if !errors.Is(last, holdfast.ErrNotFound) || last.Error() != tt.text {
			t.Errorf("%+v: %v", tt.req, last)
		}
	}
}

// TestLogsFollow: history, then new lines of old replicas, then those of a replica that came later; nothing twice.
func TestLogsFollow(t *testing.T) {
	a := withLogs(t)
	step := 0
	var got []string
	for l, err := range a.Client.Logs(t.Context(), "shop", api.LogsRequest{Tail: -1, Follow: true}) {
		check(t, err)
		got = append(got, l.Text)
		switch len(got) {
		case 4:
			// At the very time of the last line, which must not be taken for it.
			a.Logs.Write("shop-web-1", apitest.Epoch.Add(3*time.Second), "stdout", "new")
		case 5:
			a.Put(t, replica("web", 3))
			a.Logs.Write("shop-web-3", apitest.Epoch.Add(time.Second), "stderr", "late")
		}
		if step++; l.Text == "late" {
			break
		}
	}
	if strings.Join(got, " ") != "line0 line1 line2 line3 new late" {
		t.Errorf("followed %v", got)
	}
}

// TestLogsFollowTail: of lines written at once, those before the tail stay out when following goes on.
func TestLogsFollowTail(t *testing.T) {
	a := withLogs(t)
	for i := range 20 {
		a.Logs.Write("shop-db-1", apitest.Epoch.Add(time.Minute), "stdout", fmt.Sprint("at once ", i))
	}
	var got []string
	for l, err := range a.Client.Logs(t.Context(), "shop", api.LogsRequest{Services: []string{"db"}, Tail: 2, Follow: true}) {
		check(t, err)
		got = append(got, l.Text)
		if len(got) == 2 {
			a.Logs.Write("shop-db-1", apitest.Epoch.Add(time.Minute), "stdout", "new")
		}
		if len(got) == 3 {
			break
		}
	}
	if strings.Join(got, ", ") != "at once 18, at once 19, new" {
		t.Errorf("followed %v", got)
	}
}

func TestEventsFollow(t *testing.T) {
	a := apitest.Start(t)
	a.Put(t, holdfast.Event{Type: holdfast.AppDeployed, App: "shop", Message: "first"}, holdfast.Event{Type: holdfast.AppDeployed, App: "other", Message: "not ours"})
	var got []string
	for e, err := range a.Client.Events(t.Context(), api.EventsRequest{App: "shop", Tail: -1, Follow: true}) {
		check(t, err)
		got = append(got, e.Message)
		if len(got) == 1 {
			a.Put(t, holdfast.Event{Type: holdfast.RolloutDone, App: "other", Message: "nor this"})
			a.Put(t, holdfast.Event{Type: holdfast.RolloutDone, App: "shop", Message: "second"})
		}
		if len(got) == 2 {
			break
		}
	}
	if strings.Join(got, " ") != "first second" {
		t.Errorf("followed %v", got)
	}
}
