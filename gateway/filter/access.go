package filter

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// clientOf returns the address a request came from; the zero Addr when it is none.
func clientOf(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap().WithZone("")
}

// prefixes parses addresses and prefixes.
func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		if !strings.Contains(text, "/") {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("parse address: %w", err)
			}
			out = append(out, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("parse prefix: %w", err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// byAddress refuses clients by address.
type byAddress struct{ allow, deny []netip.Prefix }

func addresses(r *holdfast.Route, _ Options) (layer, error) {
	if len(r.Allow)+len(r.Deny) == 0 {
		return nil, nil
	}
	allow, err := prefixes(r.Allow)
	if err != nil {
		return nil, err
	}
	deny, err := prefixes(r.Deny)
	if err != nil {
		return nil, err
	}
	return byAddress{allow, deny}, nil
}

func (b byAddress) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	client := clientOf(r)
	if contains(b.deny, client) || len(b.allow) > 0 && !contains(b.allow, client) {
		answer(w, http.StatusForbidden, "this address may not ask here")
		return
	}
	next.ServeHTTP(w, r)
}

// sized refuses bodies above a size: at once where the length is told, else when it is reached.
type sized int64

func bodyLimit(r *holdfast.Route, _ Options) (layer, error) {
	if r.MaxBodyBytes <= 0 {
		return nil, nil
	}
	return sized(r.MaxBodyBytes), nil
}

func (s sized) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.ContentLength > int64(s) {
		TooLarge(w, int64(s))
		return
	}
	if r.ContentLength != 0 && r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, int64(s))
	}
	next.ServeHTTP(w, r)
}

// TooLarge answers a request with a body above limit. A body that grew above it fails with an *http.MaxBytesError.
func TooLarge(w http.ResponseWriter, limit int64) {
	w.Header().Set("Connection", "close")
	answer(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is too large: at most %d bytes", limit))
}
