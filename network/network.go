package network

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfast/holdfast/network/dns"
)

// Gateway is the node's address on each replica's link: its default route, its DNS server, and the source of what the
// node itself sends to replicas.
var Gateway = netip.AddrFrom4([4]byte{169, 254, 1, 1})

// Config of a node's network. The zero value is a good one.
type Config struct {
	Table     string           // name of the nft table; default "holdfast"
	Prefix    string           // of the veths' names on the node, at most 4 bytes; default "hfv-"
	MTU       int              // of replicas' links; default that of the default route's, else 1500
	Upstreams []netip.AddrPort // resolvers for names outside the cluster; see dns.Upstreams
	Log       *slog.Logger     // default slog.Default()

	reapAfter time.Duration // default reapAfter
}

const (
	defaultTable  = "holdfast"
	defaultPrefix = "hfv-"
)

// Network is this node's part of the cluster's network. Safe for concurrent use.
type Network struct {
	cfg Config
	dns *dns.Server
	nl  *netlink.Handle
	lo  int // index of lo

	mu        sync.Mutex // guards sandboxes
	sandboxes map[string]*sandbox

	applyMu sync.Mutex // one Apply at a time; guards the rest
	rules   ruleset
	ports   portHolder
	last    *flowRules // of the table applied last; nil when flows were not looked at

	reap   chan released // veths to delete when their sandbox's end did not
	closed chan struct{}
	wg     sync.WaitGroup
}

// Open prepares this node and starts the DNS server: IPv4 forwarding on, Gateway on lo, the nft table there (as it is,
// when an agent before this one left it), existing veths found again. It changes nothing that is not Holdfast's.
func Open(cfg Config) (*Network, error) {
	cfg.Table = cmp.Or(cfg.Table, defaultTable)
	cfg.Prefix = cmp.Or(cfg.Prefix, defaultPrefix)
	cfg.reapAfter = cmp.Or(cfg.reapAfter, reapAfter)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	nl, err := netlink.NewHandle()
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	n := &Network{cfg: cfg, nl: nl, sandboxes: map[string]*sandbox{}, reap: make(chan released, 4096), closed: make(chan struct{})}
	if err := n.open(); err != nil {
		nl.Close()
		return nil, fmt.Errorf("open network: %w", err)
	}
	n.wg.Go(n.reapLoop)
	return n, nil
}

func (n *Network) open() error {
	if err := n.prepareNode(); err != nil {
		return err
	}
	if err := n.findSandboxes(); err != nil {
		return err
	}
	port, err := n.listenDNS()
	if err != nil {
		return err
	}
	n.ports = portHolder{held: map[portKey]io.Closer{}, skip: port}
	n.rules = ruleset{table: n.cfg.Table, prefix: n.cfg.Prefix, dnsPort: port}
	if err := n.rules.ensure(); err != nil {
		return errors.Join(err, n.dns.Close())
	}
	return nil
}

// dnsPorts are tried in order, for nodes where another server has port 53 of all addresses.
var dnsPorts = []uint16{53, 5353, 15353}

// listenDNS starts the DNS server and returns its port, which is nothing to replicas: they ask port 53.
func (n *Network) listenDNS() (port uint16, err error) {
	for _, port = range dnsPorts {
		n.dns, err = dns.Listen(dns.Config{Addr: netip.AddrPortFrom(Gateway, port), Upstreams: n.cfg.Upstreams, Log: n.cfg.Log})
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return port, err
}

// Close stops the DNS server and lets go of the kernel; it changes nothing there, replicas go on.
func (n *Network) Close() error {
	close(n.closed)
	n.wg.Wait()
	err := n.dns.Close()
	n.applyMu.Lock()
	n.ports.close()
	n.applyMu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sandboxes {
		s.close()
	}
	n.nl.Close()
	return err
}

func (n *Network) prepareNode() error {
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	n.lo = lo.Attrs().Index
	if err := n.nl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	addr := &netlink.Addr{IPNet: hostNet(Gateway), Scope: int(netlink.SCOPE_UNIVERSE)}
	if err := n.nl.AddrReplace(lo, addr); err != nil {
		return fmt.Errorf("add %s to lo: %w", Gateway, err)
	}
	if n.cfg.MTU == 0 {
		n.cfg.MTU = n.defaultMTU()
	}
	return letForward(n.cfg.Prefix)
}

// defaultMTU returns that of the default route's link, so that what a replica sends is not fragmented.
func (n *Network) defaultMTU() int {
	routes, err := n.nl.RouteGet(net.IPv4(192, 0, 2, 1))
	if err != nil || len(routes) == 0 {
		return 1500
	}
	link, err := n.nl.LinkByIndex(routes[0].LinkIndex)
	if err != nil || link.Attrs().Index == n.lo {
		return 1500
	}
	return link.Attrs().MTU
}

// setSysctl writes value unless it is there already, so that a read-only /proc/sys set up by an admin does.
func setSysctl(key, value string) error {
	path := "/proc/sys/" + key
	if old, err := os.ReadFile(path); err == nil && string(old) == value+"\n" {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", key, value, err)
	}
	return nil
}

// setOptionalSysctl is setSysctl for a key that kernels without the feature lack.
func setOptionalSysctl(key, value string) error {
	if err := setSysctl(key, value); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func ipNet(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
