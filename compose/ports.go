package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

func (e *entry) ports() {
	for i, p := range e.c.Ports {
		hint := p.Published
		if hint == "" {
			hint = strconv.FormatUint(uint64(p.Target), 10)
		}
		if port, ok := e.port(at("ports", i), hint, p); ok {
			e.spec.Ports = append(e.spec.Ports, port)
		}
	}
	if len(e.spec.Ports) > 0 && e.spec.NetworkMode != "" {
		if e.spec.NetworkMode == "host" {
			e.remark(at("ports"), "with network_mode host the container's ports are the node's: nothing is published")
		} else {
			e.bad(at("ports"), "nothing can be published with network_mode %s", e.spec.NetworkMode)
		}
		e.spec.Ports = nil
	}
	slices.SortStableFunc(e.spec.Ports, func(a, b holdfast.Port) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Published, b.Published))
	})
}

func (e *entry) port(where []any, hint string, p types.ServicePortConfig) (holdfast.Port, bool) {
	out := holdfast.Port{
		Name: p.Name, HostIP: p.HostIP, Target: uint16(p.Target), Protocol: cmp.Or(p.Protocol, "tcp"),
		Mode: cmp.Or(p.Mode, "ingress"), AppProtocol: p.AppProtocol,
	}
	before := len(e.problems)
	if p.Target < 1 || p.Target > 65535 {
		e.badItem(where, hint, "target %d is not a port: 1 to 65535", p.Target)
	}
	switch out.Protocol {
	case "tcp", "udp":
	case "sctp":
		e.mistake(holdfast.ErrUnsupported, where, hint, "protocol sctp is not done: use tcp or udp")
	default:
		e.badItem(where, hint, "unknown protocol %q: use tcp or udp", p.Protocol)
	}
	if out.Mode != "ingress" && out.Mode != "host" {
		e.badItem(where, hint, "unknown mode %q: use ingress or host", p.Mode)
	}
	if p.HostIP != "" && !addr(p.HostIP).Is4() {
		if a := addr(p.HostIP); a.Is6() {
			e.mistake(holdfast.ErrUnsupported, where, hint, fmt.Sprintf("host address %s: IPv6 is not done", a))
		} else {
			e.badItem(where, hint, "host address %q is not an IP address", p.HostIP)
		}
	}
	out.Published = e.published(where, hint, p.Published)
	return out, len(e.problems) == before
}

func (e *entry) published(where []any, hint, text string) uint16 {
	if text == "" {
		return 0
	}
	if strings.Contains(text, "-") {
		e.mistake(holdfast.ErrUnsupported, where, hint, fmt.Sprintf("published range %q for one target: publish one port, the gateway "+
			"balances it over all replicas", text))
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		e.badItem(where, hint, "published %q is not a port: 1 to 65535", text)
	}
	return uint16(n)
}

// exposeProblem says what is wrong with an item of expose, or "".
func exposeProblem(text string) string {
	ports, proto, hasProto := strings.Cut(text, "/")
	if hasProto && proto != "tcp" && proto != "udp" {
		return fmt.Sprintf("unknown protocol %q: use tcp or udp", proto)
	}
	from, to, isRange := strings.Cut(ports, "-")
	a, err := strconv.ParseUint(from, 10, 16)
	b := a
	if isRange && err == nil {
		b, err = strconv.ParseUint(to, 10, 16)
	}
	if err != nil || a == 0 || b < a {
		return fmt.Sprintf("%q is not a port: 1 to 65535, or a range of them", text)
	}
	return ""
}

// onlyPort returns the one TCP port that the service listens on, as far as the file says.
func (e *entry) onlyPort() (uint16, bool) {
	ports := map[uint16]bool{}
	for _, p := range e.spec.Ports {
		if p.Protocol == "tcp" {
			ports[p.Target] = true
		}
	}
	for _, text := range e.spec.Expose {
		number, proto, _ := strings.Cut(text, "/")
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && proto != "udp" {
			ports[uint16(n)] = true
		} else if err != nil {
			return 0, false
		}
	}
	for port := range ports {
		return port, len(ports) == 1
	}
	return 0, false
}
