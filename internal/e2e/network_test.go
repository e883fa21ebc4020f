package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/internal/netlab"
)

// networksApp has web, which reaches api, which reaches db, which reaches nothing else.
func networksApp(t netlab.TB) string {
	image := fmt.Sprintf("x-holdfast: {go: {dir: %q, package: ./internal/e2e/server}}", repository(t))
	return strings.ReplaceAll(`name: shop
services:
  web:
    IMAGE
    networks: [front]
    ports: ["15353:5353/udp", {target: 8080, published: "18090", mode: host}]
  api:
    IMAGE
    networks: {front: {aliases: [backend]}, back: {}}
    deploy: {replicas: 3}
  each:
    IMAGE
    networks: [front]
    deploy: {replicas: 2, endpoint_mode: dnsrr}
  db:
    IMAGE
    networks: {back: {ipv4_address: 10.77.0.10}}
networks:
  front:
  back:
    internal: true
    ipam: {config: [{subnet: 10.77.0.0/24}]}
`, "IMAGE", image)
}

// in runs the test server's binary in a replica of a service and returns what it printed.
func (a app) in(service string, args ...string) (string, error) {
	a.T.Helper()
	r := a.Try(a.dir, append([]string{"exec", service, "/server"}, args...)...)
	if r.Code != 0 {
		return r.Out, errors.New(strings.TrimSpace(r.Err))
	}
	return strings.TrimSpace(r.Out), nil
}

func (a app) mustIn(service string, args ...string) string {
	a.T.Helper()
	out, err := a.in(service, args...)
	if err != nil {
		a.T.Fatalf("in %s: %v: %v", service, args, err)
	}
	return out
}

// addresses are those of a service's ready replicas on a network, by slot.
func (a app) addresses(service, network string) []string {
	a.T.Helper()
	var all []string
	for _, r := range a.ready(service) {
		all = append(all, r.Addresses[network].String())
	}
	return all
}

func TestNamesLeadToReplicas(t *testing.T) {
	a := deploy(t, started(t), networksApp(t))
	replicas := a.addresses("api", "front")
	vip := a.mustIn("web", "lookup", "api")
	if want := a.service("api").VIPs["front"].String(); vip != want || slices.Contains(replicas, vip) {
		t.Errorf("api is at %q, want its virtual address %s", vip, want)
	}
	if alias := a.mustIn("web", "lookup", "backend"); alias != vip {
		t.Errorf("its alias is at %q, want %s", alias, vip)
	}
	for i, want := range replicas {
		if got := a.mustIn("web", "lookup", fmt.Sprintf("%d.api", i+1)); got != want {
			t.Errorf("%d.api is at %q, want %s", i+1, got, want)
		}
	}
	want := a.addresses("each", "front")
	slices.Sort(want)
	if got := a.mustIn("web", "lookup", "each"); got != strings.Join(want, "\n") {
		t.Errorf("each is at %q, want %q", got, want)
	}
	hosts := map[string]bool{}
	a.Eventually(20*time.Second, "the virtual address leads to each replica", func() error {
		hosts[a.mustIn("web", "get", "http://api:8080/")] = true
		if len(hosts) < len(replicas) {
			return fmt.Errorf("heard %v", hosts)
		}
		return nil
	})
}

func TestNetworksKeepServicesApart(t *testing.T) {
	n := started(t)
	a := deploy(t, n, networksApp(t))
	if got := a.mustIn("api", "get", "http://db:8080/"); !strings.Contains(got, "db-1") {
		t.Errorf("api heard %q of db", got)
	}
	other := app{n, t.TempDir()}
	other.write(strings.Replace(strings.Split(networksApp(t), "    networks:")[0], "shop", "other", 1))
	other.run("up")
	for _, tc := range []struct {
		from app
		to   string
		err  string
	}{
		{a, "http://db:8080/", "no such host"},
		{a, "http://10.77.0.10:8080/", "no route to host"},
		{other, "http://api:8080/", "no such host"},
		{other, "http://" + a.addresses("api", "front")[0] + ":8080/", "no route to host"},
		{other, "http://" + a.service("api").VIPs["front"].String() + ":8080/", "no route to host"},
	} {
		out, err := tc.from.in("web", "get", tc.to)
		if err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("web of %s got %s: %q, %v, want %q", filepath.Base(tc.from.dir), tc.to, out, err, tc.err)
		}
	}
}

func TestPublishedPortsLeadIn(t *testing.T) {
	a := deploy(t, started(t), networksApp(t))
	if body := a.mustGet(":18090/"); !strings.Contains(body, "web-1") {
		t.Errorf("the port of the replica's node answered %q", body)
	}
	if got, err := a.packet("127.0.0.1:15353", "hello"); err != nil || got != "web-1 hello" {
		t.Errorf("the UDP port answered %q, %v", got, err)
	}
	victim := a.waitReady("web", 1)[0]
	a.Kill(victim.Status.PID)
	a.waitReplaced(victim, 1)
	a.Eventually(10*time.Second, "the UDP port leads to the replacement", func() error {
		_, err := a.packet("127.0.0.1:15353", "again")
		return err
	})
}

// packet sends a packet from the node and returns the answer.
func (a app) packet(address, text string) (string, error) {
	ctx, cancel := context.WithTimeout(a.T.Context(), time.Second)
	defer cancel()
	conn, err := a.Dial(ctx, "udp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", errors.New("no answer")
	}
	return string(buf[:n]), err
}
