package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// summary prints where the app's services answer.
func (a *app) summary(ctx context.Context, name string) error {
	v, err := a.api().App(ctx, name)
	if err != nil {
		return err
	}
	if a.json {
		return errors.Join(a.printJSON(v), unreachable(v))
	}
	info, err := a.api().Info(ctx)
	if err != nil {
		return err
	}
	t := &table{}
	for i := range v.Services {
		s := &v.Services[i]
		urls := append(routeURLs(info, s), portURLs(s)...)
		for i, u := range urls {
			first := ""
			if i == 0 {
				first = "  " + s.Name
			}
			t.rows = append(t.rows, []string{first, u})
		}
	}
	if len(t.rows) > 0 {
		if err := t.write(a.Stdout); err != nil {
			return err
		}
	} else {
		a.printf("%s is up: %s\n", name, plural(len(v.Services), "service"))
	}
	return unreachable(v)
}

// unreachable is the error of an app that runs, and that clients cannot reach all of.
func unreachable(v api.AppView) error {
	notes := problemNotes(v.Services)
	if len(notes) == 0 {
		return nil
	}
	return holdfast.Errorf(holdfast.ErrUnavailable, "%s runs, but not all of it can be reached:\n%s", v.Name, strings.Join(notes, "\n"))
}

// routeURLs are the URLs that the gateway answers for a service.
func routeURLs(info api.Info, s *api.ServiceView) []string {
	var out []string
	for _, r := range s.Routes {
		host := cmp.Or(r.Host, "localhost")
		for _, addr := range info.Gateway {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				continue
			}
			if port != "80" {
				host += ":" + port
			}
			out = append(out, "http://"+host+cmp.Or(r.PathPrefix, "/"))
			break
		}
	}
	return out
}

// portURLs are the published ports of a service; one that speaks HTTP by its number is written as a URL.
func portURLs(s *api.ServiceView) []string {
	var out []string
	for _, p := range s.Ports {
		if p.Published == 0 {
			continue
		}
		host := cmp.Or(p.HostIP, "localhost")
		if host == "0.0.0.0" || host == "::" {
			host = "localhost"
		}
		out = append(out, portURL(p, net.JoinHostPort(host, strconv.Itoa(int(p.Published)))))
	}
	return slices.Compact(out)
}

func portURL(p holdfast.Port, addr string) string {
	if p.Protocol == "tcp" && slices.Contains([]uint16{80, 8000, 8080, 3000}, p.Target) {
		return "http://" + addr
	}
	return fmt.Sprintf("%s://%s", p.Protocol, addr)
}
