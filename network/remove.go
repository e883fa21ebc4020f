package network

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// Remove takes all that a Network of cfg made from this node, whose agent has ended: the nft table, veths, routes,
// Gateway and the rules in a firewall. It leaves ip_forward on. What is not there is no error.
func Remove(cfg Config) error {
	cfg.Table, cfg.Prefix = cmp.Or(cfg.Table, defaultTable), cmp.Or(cfg.Prefix, defaultPrefix)
	err := errors.Join(removeTable(cfg.Table), removeLinks(cfg.Prefix), removeRoutes(), removeGateway())
	if err != nil {
		return fmt.Errorf("remove network: %w", err)
	}
	stopForward(cfg.Prefix)
	return nil
}

func removeTable(name string) error {
	conn, err := (&ruleset{}).dial()
	if err != nil {
		return err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list nft tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == name {
			conn.DelTable(t)
		}
	}
	return conn.Flush()
}

func removeLinks(prefix string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if !strings.HasPrefix(l.Attrs().Name, prefix) {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, syscall.ENODEV) {
			errs = append(errs, fmt.Errorf("delete %s: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

func removeRoutes() error {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, ownRoutes, ownRoutesMask)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("delete route %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func removeGateway() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	err = netlink.AddrDel(lo, &netlink.Addr{IPNet: &net.IPNet{IP: Gateway.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("remove %s from lo: %w", Gateway, err)
	}
	return nil
}

// stopForward undoes letForward.
func stopForward(prefix string) {
	iptables, err := exec.LookPath("iptables")
	if err != nil {
		return
	}
	for _, rule := range forwardRules(prefix) {
		_ = exec.Command(iptables, append([]string{"-w", "5", "-D"}, rule...)...).Run() // fails when it is not there
	}
}
