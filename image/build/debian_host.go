package build

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debianHost is how this machine's apt reaches its packages.
type debianHost struct {
	suite   string // codename, "bookworm"; "stable" where this machine has none
	entries []aptSource
	aptConf string // proxies and checks that the user configured
}

// aptSource is one deb822 stanza.
type aptSource struct {
	URIs, Suites, Components, SignedBy string
	Other                              []string // further fields, as they are
}

const debianMirror = "http://deb.debian.org/debian"

// readHost reads the sources below root.
func readHost(root string) (debianHost, error) {
	h := debianHost{suite: "stable"}
	if data, err := os.ReadFile(filepath.Join(root, "etc/os-release")); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok && name != "" {
				h.suite = strings.Trim(name, `"`)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "etc/apt/sources.list.d/*"))
	if err != nil {
		return h, err
	}
	for _, file := range append([]string{filepath.Join(root, "etc/apt/sources.list")}, files...) {
		data, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return h, fmt.Errorf("read apt sources: %w", err)
		}
		switch filepath.Ext(file) {
		case ".list":
			h.entries = append(h.entries, parseList(string(data))...)
		case ".sources":
			h.entries = append(h.entries, parseDeb822(string(data))...)
		}
	}
	h.aptConf = hostAptConf()
	return h, nil
}

// hostAptConf returns those of apt's settings that say how to reach a mirror.
func hostAptConf() string {
	out, err := exec.Command("apt-config", "dump").Output()
	if err != nil { // no apt here: mmdebstrap brings its own complaint
		return ""
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		low := strings.ToLower(line)
		if !strings.HasPrefix(low, "acquire::") || strings.HasSuffix(strings.TrimSpace(line), `"";`) {
			continue
		}
		for _, word := range []string{"proxy", "check-valid-until", "check-date", "verify-peer", "verify-host", "cainfo", "timeout", "retries"} {
			if strings.Contains(low, word) {
				b.WriteString(line)
				break
			}
		}
	}
	return b.String()
}

// sources returns the deb822 text for suite: this machine's own entries when it has some, else its Debian mirror's
// entries with the suite replaced.
func (h debianHost) sources(suite string) string {
	var own []aptSource
	for _, e := range h.entries {
		if keep := suitesOf(e.Suites, suite); keep != "" {
			e.Suites = keep
			own = append(own, e)
		}
	}
	if len(own) == 0 {
		own = h.translated(suite)
	}
	var b strings.Builder
	for _, e := range own {
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", e.URIs, e.Suites, e.Components)
		if e.SignedBy != "" {
			fmt.Fprintf(&b, "Signed-By: %s\n", e.SignedBy)
		}
		for _, line := range e.Other {
			b.WriteString(line + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// suitesOf returns those of suites that belong to suite: itself, -updates, -security, -backports.
func suitesOf(suites, suite string) string {
	var keep []string
	for _, s := range strings.Fields(suites) {
		base, _, _ := strings.Cut(s, "-")
		if base == suite || s == suite || s == suite+"/updates" {
			keep = append(keep, s)
		}
	}
	return strings.Join(keep, " ")
}

// translated makes entries for a suite that this machine has no sources of.
func (h debianHost) translated(suite string) []aptSource {
	var out []aptSource
	for _, e := range h.entries {
		keep := strings.Fields(suitesOf(e.Suites, h.suite))
		for i, s := range keep {
			keep[i] = suite + strings.TrimPrefix(s, h.suite)
		}
		if len(keep) > 0 && strings.Contains(e.URIs, "debian") {
			e.Suites = strings.Join(keep, " ")
			out = append(out, e)
		}
	}
	if suite == "sid" || suite == "unstable" || len(out) == 0 {
		return []aptSource{{URIs: debianMirror, Suites: suite, Components: "main"}}
	}
	return out
}

// parseList parses the one-line format: deb [options] uri suite components….
func parseList(text string) []aptSource {
	var out []aptSource
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		var e aptSource
		if options, after, found := strings.Cut(rest, "]"); found && strings.HasPrefix(strings.TrimSpace(options), "[") {
			rest = after
			e.setOptions(strings.TrimPrefix(strings.TrimSpace(options), "["))
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 {
			continue
		}
		e.URIs, e.Suites, e.Components = fields[0], fields[1], strings.Join(fields[2:], " ")
		out = append(out, e)
	}
	return out
}

func (e *aptSource) setOptions(options string) {
	names := map[string]string{"trusted": "Trusted", "arch": "Architectures", "check-valid-until": "Check-Valid-Until"}
	for _, o := range strings.Fields(options) {
		key, value, _ := strings.Cut(o, "=")
		if key == "signed-by" {
			e.SignedBy = value
		} else if name := names[key]; name != "" {
			e.Other = append(e.Other, name+": "+strings.ReplaceAll(value, ",", " "))
		}
	}
}

// parseDeb822 parses stanzas of "Field: value" lines.
func parseDeb822(text string) []aptSource {
	var out []aptSource
	for stanza := range strings.SplitSeq(text, "\n\n") {
		fields := stanzaFields(stanza)
		if !slices.Contains(strings.Fields(fields["types"]), "deb") || strings.EqualFold(fields["enabled"], "no") {
			continue
		}
		e := aptSource{URIs: fields["uris"], Suites: fields["suites"], Components: fields["components"], SignedBy: fields["signed-by"]}
		for _, name := range []string{"Trusted", "Architectures", "Check-Valid-Until"} {
			if v := fields[strings.ToLower(name)]; v != "" {
				e.Other = append(e.Other, name+": "+v)
			}
		}
		if e.URIs != "" && e.Suites != "" {
			out = append(out, e)
		}
	}
	return out
}

// stanzaFields returns the fields by lower-case name. Lines that go on keep their line breaks, as keys in the text do.
func stanzaFields(stanza string) map[string]string {
	fields := map[string]string{}
	last := ""
	for line := range strings.Lines(stanza) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			if last != "" {
				fields[last] = strings.TrimPrefix(fields[last]+"\n"+line, "\n")
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if ok {
				last = strings.ToLower(strings.TrimSpace(name))
				fields[last] = strings.TrimSpace(value)
			}
		}
	}
	return fields
}
