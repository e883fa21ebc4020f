package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Apply makes the node's rules, routes and DNS as t says. It is level-triggered: t is everything, only what differs is
// written, and nothing that stays flickers. When it returns, new flows go where t says; UDP flows to a replica that is
// no longer ready are cut from it, and so are all flows to an address that is gone. What contradicts the rest of t is
// left out, so that one app's mistake is not another's, and named in an error of ErrInvalid or ErrUnsupported; so is a
// host port that another program on the node has, in one of ErrConflict. With any other error not all of t is done:
// call it again.
func (n *Network) Apply(ctx context.Context, t Table) error {
	n.applyMu.Lock()
	defer n.applyMu.Unlock()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	t, wrong := sound(t)
	ports, taken := n.ports.hold(ctx, t.HostPorts)
	t.HostPorts = ports
	if err := errors.Join(n.apply(t), wrong, taken); err != nil {
		return fmt.Errorf("apply network table: %w", err)
	}
	return nil
}

func (n *Network) apply(t Table) error {
	n.dns.Set(zone(t)) // first: no name resolves to what is about to be cut
	if err := n.rules.apply(desired(t)); err != nil {
		return err
	}
	if err := n.applyRoutes(t); err != nil {
		return err
	}
	return n.applyFlows(newFlowRules(t))
}

func (n *Network) applyFlows(want flowRules) error {
	last := n.last
	if last == nil { // first of this process, or the one before failed
		last = &flowRules{}
	} else if !want.takesAway(*last) {
		n.last = &want
		return nil
	}
	n.last = nil
	if err := n.cut(want, *last); err != nil {
		return err
	}
	n.last = &want
	return nil
}

// routeProtocol marks the routes that applyRoutes owns.
const routeProtocol = 104

var ownRoutes = &netlink.Route{Protocol: routeProtocol, Type: unix.RTN_UNREACHABLE}

const ownRoutesMask = netlink.RT_FILTER_PROTOCOL | netlink.RT_FILTER_TYPE

// applyRoutes makes addresses of our networks that no replica has unreachable, so that what is sent to a replica that
// is gone fails at once and does not leave by the default route.
func (n *Network) applyRoutes(t Table) error {
	there, err := n.nl.RouteListFiltered(netlink.FAMILY_V4, ownRoutes, ownRoutesMask)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	want := map[string]netip.Prefix{}
	for _, net := range t.Networks {
		want[net.Subnet.Masked().String()] = net.Subnet
	}
	for _, r := range there {
		if _, keep := want[r.Dst.String()]; keep {
			delete(want, r.Dst.String())
		} else if err := n.nl.RouteDel(&r); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("remove route %s: %w", r.Dst, err)
		}
	}
	for _, subnet := range want {
		route := &netlink.Route{Dst: ipNet(subnet), Protocol: routeProtocol, Type: unix.RTN_UNREACHABLE, Priority: 1000}
		if err := n.nl.RouteReplace(route); err != nil {
			return fmt.Errorf("add route %s: %w", subnet, err)
		}
	}
	return nil
}
