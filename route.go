package holdfast

// Route sends HTTP requests to a port of the service, and says what the gateway does with them on the way. A request
// matches when all that is set of Host, its path, Methods, Headers and Query does.
type Route struct {
	Host       string           `json:"host,omitempty"`   // "" any; "*.example.com" one label
	PathPrefix string           `json:"path,omitempty"`   // "" is "/"; matches whole segments
	Exact      bool             `json:"exact,omitempty"`  // PathPrefix is the whole path
	Regexp     string           `json:"regexp,omitempty"` // RE2 of the whole path, in place of PathPrefix
	Methods    []string         `json:"methods,omitempty"`
	Headers    []RouteCondition `json:"headers,omitempty"` // sorted by name
	Query      []RouteCondition `json:"query,omitempty"`   // sorted by name
	Port       uint16           `json:"port"`              // container port

	// What the replica sees, and where else a client is sent.
	Strip           bool         `json:"strip,omitempty"` // PathPrefix is cut off
	Rewrite         *PathRewrite `json:"rewrite,omitempty"`
	Redirect        *Redirect    `json:"redirect,omitempty"` // the answer: no replica is asked
	RequestHeaders  *HeaderEdits `json:"requestHeaders,omitempty"`
	ResponseHeaders *HeaderEdits `json:"responseHeaders,omitempty"`

	// Who may ask, and for how much.
	Allow        []string      `json:"allow,omitempty"` // addresses and prefixes of clients; none: all
	Deny         []string      `json:"deny,omitempty"`  // goes before Allow
	RateLimit    *RateLimit    `json:"rateLimit,omitempty"`
	BasicAuth    *BasicAuth    `json:"basicAuth,omitempty"`
	CORS         *CORS         `json:"cors,omitempty"`
	MaxBodyBytes int64         `json:"maxBodyBytes,omitempty"`
	Timeout      Duration      `json:"timeout,omitempty"` // for a replica to begin its answer; 0 is the gateway's
	Retries      *RouteRetries `json:"retries,omitempty"`

	// How it is answered.
	Compress    *Compress    `json:"compress,omitempty"`
	ErrorPages  []ErrorPage  `json:"errorPages,omitempty"` // sorted by status
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	TLS         *TLS         `json:"tls,omitempty"` // of Host; nil: clear text only
}

// RouteCondition asks for a header or query parameter. With neither Value nor Regexp it must only be there.
type RouteCondition struct {
	Name   string `json:"name"`
	Value  string `json:"value,omitempty"`
	Regexp string `json:"regexp,omitempty"` // RE2 of the whole value
}

// PathRewrite changes the path that a replica sees. Prefix takes the place of the route's path; else Regexp (RE2) is
// replaced by To wherever it matches, where $1 or ${name} is what a group matched.
type PathRewrite struct {
	Prefix string `json:"prefix,omitempty"`
	Regexp string `json:"regexp,omitempty"`
	To     string `json:"to,omitempty"`
}

// Redirect sends the client elsewhere. What is "" stays as it was in the request; the path then is the one that the
// replica would have seen. The query stays.
type Redirect struct {
	Code   int    `json:"code"`             // 301, 302, 303, 307, 308
	Scheme string `json:"scheme,omitempty"` // http, https
	Host   string `json:"host,omitempty"`
	Port   uint16 `json:"port,omitempty"` // 0: the scheme's own if Scheme or Host is set
	Path   string `json:"path,omitempty"`
}

// HeaderEdits remove, then set, then add header fields.
type HeaderEdits struct {
	Remove []string          `json:"remove,omitempty"`
	Set    map[string]string `json:"set,omitempty"`
	Add    map[string]string `json:"add,omitempty"`
}

// RateLimit is a token bucket of Burst requests that fills with Requests in each Per. Each gateway counts by itself.
type RateLimit struct {
	Requests int      `json:"requests"`
	Per      Duration `json:"per"`
	Burst    int      `json:"burst"`
	// By says who has a bucket: "client" (an address; of IPv6 the /64), "route" (one for all), "header" (each value of
	// Header; clients that do not send it go by address).
	By     string `json:"by"`
	Header string `json:"header,omitempty"`
}

// BasicAuth asks for a user and password (RFC 7617). Users has a line "name:hash" for each, where the hash is bcrypt's, or
// "{SHA256}" and the hex digest of a password that is long and random.
type BasicAuth struct {
	Realm string  `json:"realm"`
	Users FileRef `json:"users"`
}

// GatewayFile begins the names of Files that gateways may read: pages, users and their hashes, certificates and
// keys of routes. Compose's names of secrets and configs have no colon.
const GatewayFile = "gateway:"

// CORS answers preflight requests and lets pages of other origins read answers (the Fetch standard, §3.2).
type CORS struct {
	Origins     []string `json:"origins"`           // "https://a.example", "https://*.example", "*"
	Methods     []string `json:"methods,omitempty"` // none: the usual ones
	Headers     []string `json:"headers,omitempty"` // request headers; "*" any
	Expose      []string `json:"expose,omitempty"`  // response headers
	Credentials bool     `json:"credentials,omitempty"`
	MaxAge      Duration `json:"maxAge,omitempty"`
}

// RouteRetries bounds how often a request is sent.
type RouteRetries struct {
	Attempts int `json:"attempts,omitempty"` // 1: never again; 0 is the default
	Percent  int `json:"percent,omitempty"`  // of the route's requests that may be sent again; 0 is the default
}

// Compress has the gateway compress answers that are not yet.
type Compress struct {
	Encodings []string `json:"encodings"` // of zstd, br, gzip; the first that the client likes best
	MinBytes  int64    `json:"minBytes"`
	Types     []string `json:"types"` // media types; "text/*" all of text
}

// ErrorPage takes the place of the body of answers with Status.
type ErrorPage struct {
	Status string  `json:"status"` // "404", "5xx"
	Page   FileRef `json:"page"`
}

// Maintenance answers 503 with Page to all but the clients of Allow.
type Maintenance struct {
	Page       *FileRef `json:"page,omitempty"`
	Allow      []string `json:"allow,omitempty"` // addresses and prefixes
	RetryAfter Duration `json:"retryAfter,omitempty"`
}

// RouteFiles returns the Files that gateways need for the service's routes.
func (s *Spec) RouteFiles() []FileRef {
	var out []FileRef
	for i := range s.Routes {
		r := &s.Routes[i]
		if r.TLS != nil && r.TLS.From == CertFiles {
			out = append(out, r.TLS.Cert, r.TLS.Key)
		}
		if r.BasicAuth != nil {
			out = append(out, r.BasicAuth.Users)
		}
		for _, p := range r.ErrorPages {
			out = append(out, p.Page)
		}
		if r.Maintenance != nil && r.Maintenance.Page != nil {
			out = append(out, *r.Maintenance.Page)
		}
	}
	return out
}
