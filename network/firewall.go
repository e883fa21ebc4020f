package network

import (
	"fmt"
	"os/exec"
	"strings"
)

// letForward lets replicas' packets through a node's iptables firewall that forwards nothing by default, as Docker and
// ufw set one up: every table must accept a packet, ours alone cannot. Our own rules still judge each packet. Without
// iptables, or with another default, it changes nothing.
func letForward(prefix string) error {
	iptables, err := exec.LookPath("iptables")
	if err != nil {
		return nil
	}
	run := func(args ...string) (string, error) {
		out, err := exec.Command(iptables, append([]string{"-w", "5"}, args...)...).CombinedOutput()
		return string(out), err
	}
	rules, err := run("-S", "FORWARD")
	if err != nil || !strings.HasPrefix(rules, "-P FORWARD DROP") {
		return nil // no such firewall in this kernel, or one that forwards
	}
	for _, rule := range forwardRules(prefix) {
		if _, err := run(append([]string{"-C"}, rule...)...); err == nil {
			continue
		}
		if out, err := run(append([]string{"-I"}, rule...)...); err != nil {
			return fmt.Errorf("let replicas through iptables: %w: %s", err, strings.TrimSpace(out))
		}
	}
	return nil
}

func forwardRules(prefix string) [][]string {
	return [][]string{
		{"FORWARD", "-i", prefix + "+", "-j", "ACCEPT"},
		{"FORWARD", "-o", prefix + "+", "-j", "ACCEPT"},
	}
}
