package network

import (
	"testing"
)

func TestReplicasOfOneNetworkReachEachOther(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	b := n.replica("b", 1, "front=10.208.0.2")
	n.apply()
	b.echo("b", 80)
	for _, proto := range []string{"tcp", "udp"} {
		server, client, err := a.ask(proto, "10.208.0.2:80")
		if err != nil || server != "b" || client != "10.208.0.1" {
			t.Errorf("%s: got %q from %q, %v", proto, server, client, err)
		}
	}
}
