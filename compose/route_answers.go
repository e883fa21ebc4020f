package compose

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/holdfast/holdfast"
)

// answers reads how a route is answered.
func (r *routeReader) answers(out *holdfast.Route) {
	out.Compress = r.compress()
	out.ErrorPages = r.errorPages()
	out.Maintenance = r.maintenance()
}

var contentCodings = []string{"zstd", "br", "gzip"}

func (r *routeReader) compress() *holdfast.Compress {
	v, ok := r.get("compress")
	if !ok {
		return nil
	}
	c := &holdfast.Compress{Encodings: contentCodings, MinBytes: defaultCompressMin, Types: defaultCompressTypes}
	m, isMap := v.(map[string]any)
	if !isMap {
		if !r.flag("compress") {
			return nil
		}
		return c
	}
	o := r.e.read(r.at("compress"), m)
	if list := o.texts("encodings"); list != nil {
		c.Encodings = list
	}
	if list := o.texts("types"); list != nil {
		c.Types = list
	}
	c.MinBytes = o.size("min", defaultCompressMin)
	o.done()
	for i, name := range c.Encodings {
		if !slices.Contains(contentCodings, name) || slices.Index(c.Encodings, name) < i {
			r.e.bad(o.at("encodings", i), "%q is not zstd, br or gzip, or is there twice", name)
		}
	}
	for i, kind := range c.Types {
		if !mediaType.MatchString(kind) {
			r.e.bad(o.at("types", i), "%q is not a media type such as text/html or text/*", kind)
		}
	}
	if len(c.Encodings) == 0 || len(c.Types) == 0 {
		r.e.bad(o.where, "an empty list compresses nothing: leave compress out")
	}
	return c
}

var mediaType = regexp.MustCompile(`^[a-z]+/(\*|[a-z0-9.+-]+)$`)

var errorStatus = regexp.MustCompile(`^([45]xx|[45][0-9]{2})$`)

func (r *routeReader) errorPages() []holdfast.ErrorPage {
	v, ok := r.get("error_pages")
	if !ok {
		return nil
	}
	var out []holdfast.ErrorPage
	o := r.e.read(r.at("error_pages"), v)
	for _, status := range sortedKeys(o.m) {
		if !errorStatus.MatchString(status) {
			r.e.bad(o.at(status), "the key must be a status such as 404, or 4xx or 5xx")
		}
		if ref := r.file(o, status, false); ref != nil {
			out = append(out, holdfast.ErrorPage{Status: status, Page: *ref})
		}
	}
	return out
}

func (r *routeReader) maintenance() *holdfast.Maintenance {
	v, ok := r.get("maintenance")
	if !ok {
		return nil
	}
	if _, isMap := v.(map[string]any); !isMap {
		if !r.flag("maintenance") {
			return nil
		}
		return &holdfast.Maintenance{}
	}
	o := r.e.read(r.at("maintenance"), v)
	m := &holdfast.Maintenance{Allow: o.prefixes("allow"), RetryAfter: o.duration("retry_after", 0, false)}
	m.Page = r.file(o, "page", false)
	o.done()
	return m
}

func (r *routeReader) basicAuth() *holdfast.BasicAuth {
	v, ok := r.get("basic_auth")
	if !ok {
		return nil
	}
	o := r.e.read(r.at("basic_auth"), v)
	b := &holdfast.BasicAuth{Realm: o.text("realm")}
	if b.Realm == "" {
		b.Realm = r.e.name
	}
	if strings.ContainsFunc(b.Realm, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		r.e.bad(o.at("realm"), "must be plain text without quotes")
	}
	if ref := r.file(o, "users", true); ref != nil {
		b.Users = *ref
	} else if _, ok := o.m["users"]; !ok {
		r.e.bad(o.where, "needs users: the name of a secret with lines of name:hash")
	}
	o.done()
	return b
}

// file reads the name of a config or secret whose content the gateway gets, under a name of its own.
func (r *routeReader) file(o *reader, key string, secret bool) *holdfast.FileRef {
	name := o.text(key)
	if name == "" {
		return nil
	}
	kind := "configs"
	if secret {
		kind = "secrets"
	}
	object, ok := r.e.fileObject(secret, name)
	if !ok {
		r.e.bad(o.at(key), "%q is not declared under the top-level %s%s", name, kind, didYouMean(name, r.e.fileNames(secret)))
		return nil
	}
	data, ok := r.e.content(keyPath{kind, name}, object, secret)
	if !ok {
		return nil
	}
	if secret {
		if problem := usersProblem(data); problem != "" {
			r.e.bad(o.at(key), "secret %s: %s", name, problem)
			return nil
		}
	}
	sum := sha256.Sum256(data)
	file := holdfast.File{
		App: r.e.project.Name, Name: holdfast.GatewayFile + name, Secret: secret,
		Digest: "sha256:" + hex.EncodeToString(sum[:]), Data: data,
	}
	r.files[file.Name+"\x00"+file.Digest] = file
	return &holdfast.FileRef{Name: file.Name, Digest: file.Digest}
}

// maxBcryptCost bounds what a request may cost: each step doubles the time, and 14 is about a second.
const maxBcryptCost = 14

var sha256Hash = regexp.MustCompile(`^\{SHA256\}[0-9a-fA-F]{64}$`)

// usersProblem says what is wrong with lines of "name:hash", without telling what they hold; "" when nothing is.
func usersProblem(data []byte) string {
	names := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		cost, err := bcrypt.Cost([]byte(hash))
		switch {
		case name == "" || err != nil && !sha256Hash.MatchString(hash):
			return fmt.Sprintf("line %d is not name:hash with a bcrypt hash (htpasswd -nB name) or {SHA256}<64 hex digits>", n)
		case err == nil && cost > maxBcryptCost:
			return fmt.Sprintf("line %d has a bcrypt hash of cost %d: at most %d", n, cost, maxBcryptCost)
		case names[name]:
			return fmt.Sprintf("line %d names a user twice", n)
		}
		names[name] = true
	}
	if lines.Err() != nil {
		return "a line is too long"
	}
	if len(names) == 0 {
		return "it names no user"
	}
	return ""
}
