package compose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// extensionCases are values of x-holdfast. The schema and the decoder must say the same of each.
var extensionCases = map[string]bool{
	`{}`:                      true,
	``:                        false,
	`stateful`:                false,
	`[]`:                      false,
	`{kind: stateful}`:        true,
	`{kind: stateless}`:       true,
	`{kind: both}`:            false,
	`{kind: ""}`:              false,
	`{kind: 1}`:               false,
	`{knd: stateful}`:         false,
	`{isolation: container}`:  true,
	`{isolation: vm}`:         false,
	`{scale: {min: 1}}`:       false,
	`{sessions: {}}`:          false,
	`{database: {}}`:          false,
	`{fleet: {}}`:             false,
	`{static: .}`:             false,
	`{auth: {}}`:              false,
	`{route: example.com}`:    true,
	`{route: /}`:              true,
	`{route: /api/v1}`:        true,
	`{route: "*.a.com/x"}`:    true,
	`{route: ""}`:             false,
	`{route: 5}`:              false,
	`{route: []}`:             false,
	`{route: "http://a.com"}`: false,
	`{route: "a.com:80"}`:     false,
	`{route: "a.*.com"}`:      false,
	`{route: "/a?b"}`:         false,
	`{route: [/a, {host: a.com, path: /b, port: 80, strip: true}]}`: true,
	`{route: {host: a.com, port: "80", strip: "false"}}`:            true,
	`{route: {}}`:               true,
	`{route: {path: a}}`:        false,
	`{route: {host: ""}}`:       false,
	`{route: {port: 0}}`:        false,
	`{route: {port: 65536}}`:    false,
	`{route: {port: 1.5}}`:      false,
	`{route: {port: web}}`:      false,
	`{route: {strip: perhaps}}`: false,
	`{route: {strip: 1}}`:       false,
	`{route: {tls: true}}`:      false,
	`{route: {host: "*.a.com", tls: {cert: pair, key: pair, hsts: 24h}}}`: true,
	`{route: {tls: local}}`:                                                                  true,
	`{route: {host: a.com, tls: auto}}`:                                                      true,
	`{route: {host: a.com, tls: off}}`:                                                       true,
	`{route: {host: a.com, tls: {from: local, hsts: 24h}}}`:                                  true,
	`{route: {host: a.com, tls: {cert: c}}}`:                                                 false,
	`{route: {host: a.com, tls: {from: auto, cert: c, key: k}}}`:                             false,
	`{route: {host: a.com, tls: {hsts: 24h}}}`:                                               false,
	`{route: {host: a.com, tls: sometimes}}`:                                                 false,
	`{route: {path: /a, exact: true}}`:                                                       true,
	`{route: {exact: true}}`:                                                                 false,
	`{route: {regexp: "/v[0-9]+/.*"}}`:                                                       true,
	`{route: {regexp: /a, path: /b}}`:                                                        false,
	`{route: {regexp: /a, strip: true}}`:                                                     false,
	`{route: {methods: [GET, PUT]}}`:                                                         true,
	`{route: {methods: []}}`:                                                                 false,
	`{route: {methods: [get]}}`:                                                              false,
	`{route: {methods: [GET, GET]}}`:                                                         false,
	`{route: {methods: GET}}`:                                                                false,
	`{route: {headers: {X-Canary: "1", X-B: {regexp: "a.*"}, X-C: {}}}}`:                     true,
	`{route: {headers: {Host: a}}}`:                                                          false,
	`{route: {headers: {"a b": c}}}`:                                                         false,
	`{route: {headers: {X-A: ""}}}`:                                                          false,
	`{route: {headers: {X-A: {value: 1}}}}`:                                                  false,
	`{route: {query: {v: "2", w: {}}}}`:                                                      true,
	`{route: {query: {"": "2"}}}`:                                                            false,
	`{route: {query: [v]}}`:                                                                  false,
	`{route: {path: /a, rewrite: {prefix: /b}}}`:                                             true,
	`{route: {rewrite: {regexp: "^/a/(.*)", to: /b/$1}}}`:                                    true,
	`{route: {rewrite: {regexp: "^/a"}}}`:                                                    false,
	`{route: {rewrite: {prefix: b}}}`:                                                        false,
	`{route: {rewrite: {prefix: "/b?c"}}}`:                                                   false,
	`{route: {rewrite: {}}}`:                                                                 false,
	`{route: {path: /a, strip: true, rewrite: {prefix: /b}}}`:                                false,
	`{route: {redirect: {}}}`:                                                                true,
	`{route: {redirect: {code: 301, scheme: https, host: b.com, port: 8443, path: /x}}}`:     true,
	`{route: {redirect: {code: "302"}}}`:                                                     true,
	`{route: {redirect: {code: 304}}}`:                                                       false,
	`{route: {redirect: {scheme: ftp}}}`:                                                     false,
	`{route: {redirect: {host: "b.com:80"}}}`:                                                false,
	`{route: {redirect: {path: x}}}`:                                                         false,
	`{route: {redirect: https://a.com}}`:                                                     false,
	`{route: {request_headers: {set: {X-A: a, Host: b.com}, add: {X-B: b}, remove: [X-C]}}}`: true,
	`{route: {request_headers: {set: {Connection: close}}}}`:                                 false,
	`{route: {request_headers: {set: {content-length: "1"}}}}`:                               false,
	`{route: {request_headers: {set: {X-A: 1}}}}`:                                            false,
	`{route: {request_headers: {add: {Host: a}}}}`:                                           false,
	`{route: {response_headers: {set: {X-A: a}, add: {X-B: b}, remove: [X-C]}}}`:             true,
	`{route: {response_headers: {set: {Host: a}}}}`:                                          false,
	`{route: {response_headers: {remove: [Transfer-Encoding]}}}`:                             false,
	`{route: {response_headers: {set: {"a:": b}}}}`:                                          false,
	`{route: {response_headers: {set: {X-A: "a\nb"}}}}`:                                      false,
	`{route: {response_headers: {drop: [a]}}}`:                                               false,
	`{route: {allow: [10.0.0.0/8, "::1"], deny: [10.1.1.1]}}`:                                true,
	`{route: {allow: []}}`:                                                                   false,
	`{route: {allow: [example.com]}}`:                                                        false,
	`{route: {deny: 10.0.0.0/8}}`:                                                            false,
	`{route: {rate_limit: {requests: 10, per: 1m, burst: 20, by: client}}}`:                  true,
	`{route: {rate_limit: {requests: "10", by: route}}}`:                                     true,
	`{route: {rate_limit: {requests: 10, by: header, header: X-Key}}}`:                       true,
	`{route: {rate_limit: {requests: 10, by: header}}}`:                                      false,
	`{route: {rate_limit: {requests: 10, header: X-Key}}}`:                                   false,
	`{route: {rate_limit: {requests: 0}}}`:                                                   false,
	`{route: {rate_limit: {per: 1s}}}`:                                                       false,
	`{route: {rate_limit: {requests: 1, per: 0s}}}`:                                          false,
	`{route: {rate_limit: {requests: 1, by: user}}}`:                                         false,
	`{route: {basic_auth: {users: users, realm: Shop}}}`:                                     true,
	`{route: {basic_auth: {realm: Shop}}}`:                                                   false,
	`{route: {basic_auth: {users: users, realm: "a\"b"}}}`:                                   false,
	`{route: {cors: {origins: ["https://a.com", "https://*.b.com:8080"], methods: [GET], headers: [X-A], expose: [X-B], credentials: true, max_age: 1h}}}`: true,
	`{route: {cors: {origins: ["*"]}}}`:                    true,
	`{route: {cors: {origins: ["*"], credentials: true}}}`: false,
	`{route: {cors: {origins: []}}}`:                       false,
	`{route: {cors: {origins: [a.com]}}}`:                  false,
	`{route: {cors: {origins: ["*"], headers: ["a b"]}}}`:  false,
	`{route: {max_body: 10m}}`:                             true,
	`{route: {max_body: 1024}}`:                            true,
	`{route: {max_body: 0}}`:                               false,
	`{route: {max_body: -1}}`:                              false,
	`{route: {max_body: lots}}`:                            false,
	`{route: {timeout: 5s}}`:                               true,
	`{route: {timeout: 0s}}`:                               false,
	`{route: {timeout: 5}}`:                                false,
	`{route: {retries: {attempts: 1, percent: 50}}}`:       true,
	`{route: {retries: {attempts: 0}}}`:                    false,
	`{route: {retries: {percent: 101}}}`:                   false,
	`{route: {retries: 3}}`:                                false,
	`{route: {compress: true}}`:                            true,
	`{route: {compress: {encodings: [br, gzip], min: 2k, types: [text/*, application/json]}}}`: true,
	`{route: {compress: {encodings: [deflate]}}}`:                                              false,
	`{route: {compress: {encodings: []}}}`:                                                     false,
	`{route: {compress: {types: [text]}}}`:                                                     false,
	`{route: {compress: gzip}}`:                                                                false,
	`{route: {error_pages: {"404": page, 5xx: page}}}`:                                         true,
	`{route: {error_pages: {"200": page}}}`:                                                    false,
	`{route: {error_pages: {"404": ""}}}`:                                                      false,
	`{route: {maintenance: true}}`:                                                             true,
	`{route: {maintenance: {page: page, allow: [10.0.0.1], retry_after: 10m}}}`:                true,
	`{route: {maintenance: {until: tomorrow}}}`:                                                false,
	`{route: {split: {"2": 10}}}`:                                                              false,
	`{route: {mirror: other}}`:                                                                 false,
	`{health: {}}`:                                                                             true,
	`{health: 5}`:                                                                              false,
	`{health: {startup: {tcp: 80}}}`:                                                           false,
	`{health: {readiness: {tcp: 80}}}`:                                                         true,
	`{health: {readiness: {tcp: "80"}}}`:                                                       true,
	`{health: {readiness: {tcp: 0}}}`:                                                          false,
	`{health: {readiness: {}}}`:                                                                false,
	`{health: {readiness: {tcp: 80, exec: x}}}`:                                                false,
	`{health: {liveness: {exec: x}}}`:                                                          true,
	`{health: {liveness: {exec: [a, b]}}}`:                                                     true,
	`{health: {liveness: {exec: []}}}`:                                                         false,
	`{health: {liveness: {exec: [1]}}}`:                                                        false,
	`{health: {liveness: {exec: " "}}}`:                                                        false,
	`{health: {liveness: {http: {port: 80}}}}`:                                                 true,
	`{health: {liveness: {http: {port: 80, path: /a, host: b.com}}}}`:                          true,
	`{health: {liveness: {http: {path: /a}}}}`:                                                 false,
	`{health: {liveness: {http: {port: 80, path: a}}}}`:                                        false,
	`{health: {liveness: {http: {port: 80, method: GET}}}}`:                                    false,
	`{health: {liveness: {http: 80}}}`:                                                         false,
	`{health: {liveness: {tcp: 1, interval: 1s, timeout: 1m30s, start_period: 0s, start_interval: 1.5s, retries: 1}}}`: true,
	`{health: {liveness: {tcp: 1, interval: 0s}}}`:                                                                     false,
	`{health: {liveness: {tcp: 1, interval: 5}}}`:                                                                      false,
	`{health: {liveness: {tcp: 1, timeout: soon}}}`:                                                                    false,
	`{health: {liveness: {tcp: 1, start_period: -1s}}}`:                                                                false,
	`{health: {liveness: {tcp: 1, retries: 0}}}`:                                                                       false,
	`{health: {liveness: {tcp: 1, retries: "1000"}}}`:                                                                  true,
	`{health: {liveness: {tcp: 1, retries: 1001}}}`:                                                                    false,
	`{debian: {packages: [nginx]}}`:                                                                                    true,
	`{debian: {packages: ["nginx=1.2-3", "libc6:amd64", curl/bookworm-backports]}}`:                                    true,
	`{debian: {packages: []}}`:                                                                                         false,
	`{debian: {packages: [Nginx]}}`:                                                                                    false,
	`{debian: {packages: nginx}}`:                                                                                      false,
	`{debian: {}}`:                                                                                                     false,
	`{debian: [nginx]}`:                                                                                                false,
	`{debian: {packages: [a1], suite: bookworm, variant: apt, run: [x], copy: {/a: file}, users: {app: 1000, b: "5"}}}`: true,
	`{debian: {packages: [a1], suite: "Book Worm"}}`:                                                                    false,
	`{debian: {packages: [a1], variant: tiny}}`:                                                                         false,
	`{debian: {packages: [a1], run: x}}`:                                                                                false,
	`{debian: {packages: [a1], run: [""]}}`:                                                                             false,
	`{debian: {packages: [a1], copy: {a: file}}}`:                                                                       false,
	`{debian: {packages: [a1], copy: {/: file}}}`:                                                                       false,
	`{debian: {packages: [a1], copy: [a]}}`:                                                                             false,
	`{debian: {packages: [a1], users: {App: 1}}}`:                                                                       false,
	`{debian: {packages: [a1], users: {app: 0}}}`:                                                                       false,
	`{debian: {packages: [a1], users: [app]}}`:                                                                          false,
	`{debian: {packages: [a1], mirror: x}}`:                                                                             false,
	`{go: .}`:                                                                                                           true,
	`{go: ./cmd}`:                                                                                                       true,
	`{go: -v}`:                                                                                                          false,
	`{go: ""}`:                                                                                                          false,
	`{go: [x]}`:                                                                                                         false,
	`{go: {package: ./cmd, dir: ., flags: [-v], env: [A=1]}}`:                                                           true,
	`{go: {dir: .}}`:                                                                                                    false,
	`{go: {package: ., flags: -v}}`:                                                                                     false,
	`{go: {package: ., env: [A]}}`:                                                                                      false,
	`{go: {package: ., tags: x}}`:                                                                                       false,
	`{tar: file}`:                                                                                                       true,
	`{tar: ""}`:                                                                                                         false,
	`{tar: [file]}`:                                                                                                     false,
}

// extensionSchema compiles the part of the schema that is about one x-holdfast.
func extensionSchema(t *testing.T) (map[string]any, *jsonschema.Schema) {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(XHoldfastSchema, &root); err != nil {
		t.Fatal(err)
	}
	delete(root, "allOf") // the Compose Specification's, which is elsewhere
	root["$ref"] = "#/$defs/x-holdfast"
	delete(root, "type")
	delete(root, "properties")
	c := jsonschema.NewCompiler()
	if err := c.AddResource("x.json", root); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("x.json")
	if err != nil {
		t.Fatal(err)
	}
	return root, s
}

func TestExtensionSchemaAndDecoderAgree(t *testing.T) {
	root, s := extensionSchema(t)
	source := readSources(t, "extension.go", "routes.go", "route_filters.go", "route_answers.go", "route_tls.go")
	dir := t.TempDir()
	for _, name := range []string{"file", "cmd/main.go"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package main"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hash := "ann:{SHA256}" + strings.Repeat("0a", 32) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(hash), 0o600); err != nil {
		t.Fatal(err)
	}
	writePair(t, filepath.Join(dir, "pair.pem"))
	t.Chdir(dir)
	used := map[string]bool{}
	for text, want := range extensionCases {
		t.Run(text, func(t *testing.T) {
			var v any
			if err := yaml.Unmarshal([]byte(text), &v); err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(throughJSON(t, v)); (err == nil) != want {
				t.Errorf("schema: %v, want taken %v", err, want)
			}
			file := "services:\n  web:\n    image: web\n    expose: [\"80\"]\n    x-holdfast: " + text + "\n" +
				"secrets: {users: {file: users}, pair: {file: pair.pem}}\nconfigs: {page: {content: sorry}}\n"
			if strings.Contains(text, "go:") || strings.Contains(text, "debian:") || strings.Contains(text, "tar:") {
				file = strings.Replace(file, "    image: web\n", "", 1)
			}
			_, err := Load(t.Context(), Options{Files: []string{"-"}, Stdin: strings.NewReader(file)})
			if (err == nil) != want {
				t.Errorf("decoder: %v, want taken %v", err, want)
			}
			if want {
				names(v, used)
			}
		})
	}
	known := properties(root, map[string]bool{})
	for name := range known {
		if !used[name] {
			t.Errorf("no case uses the schema's key %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`\.(?:text|flag|number|duration|texts|get|pattern|methods|conditions|edits|fields|prefixes|size)\("([a-z_]+)"`).FindAllStringSubmatch(source, -1) {
		if !known[m[1]] && !slices.Contains(laterKeys, m[1]) && !slices.Contains(laterRouteKeys, m[1]) {
			t.Errorf("the decoder reads %s, which the schema does not have", m[1])
		}
	}
}

func readSources(t *testing.T, names ...string) string {
	t.Helper()
	var out strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	return out.String()
}

func throughJSON(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// names gathers all keys of a value.
func names(v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			into[k] = true
			names(e, into)
		}
	case []any:
		for _, e := range v {
			names(e, into)
		}
	}
}

// properties gathers all keys that a schema names.
func properties(v any, into map[string]bool) map[string]bool {
	switch v := v.(type) {
	case map[string]any:
		props, _ := v["properties"].(map[string]any)
		for k := range props {
			into[k] = true
		}
		for _, e := range v {
			properties(e, into)
		}
	case []any:
		for _, e := range v {
			properties(e, into)
		}
	}
	return into
}
