// A control server for a tailnet of a few real tailscaled: the tailscale module's own test control, with people, tags
// and grants of ours, which can be changed while it runs.
//
// A node is whoever its host name says in the roster: there is nobody here to log in.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// What production control calls the user that tagged nodes belong to.
const taggedDevices = tailcfg.UserID(1)

// Who a host is: a person's, or a tag's.
type host struct {
	User    tailcfg.UserID `json:"user"`
	Login   string         `json:"login"`
	Display string         `json:"display"`
	Tags    []string       `json:"tags"`
	Sharer  tailcfg.UserID `json:"sharer"`
}

type control struct {
	server *testcontrol.Server
	roster map[string]host
	// The node that grants are for.
	target string

	mu sync.Mutex
	// By host name: what it is granted towards the server's node.
	grants map[string]tailcfg.PeerCapMap
	// Woken when anything changed.
	streams map[chan struct{}]bool
}

func main() {
	log.SetFlags(log.Ltime)
	address := flag.String("address", "", "IP address to listen on")
	admin := flag.String("admin", "", "unix socket to be told grants on")
	rosterFile := flag.String("roster", "", "JSON: who each host is")
	domain := flag.String("domain", "", "MagicDNS domain")
	to := flag.String("to", "", "host that grants are for")
	flag.Parse()

	text, err := os.ReadFile(*rosterFile)
	check(err)
	c := &control{target: *to, grants: map[string]tailcfg.PeerCapMap{}, streams: map[chan struct{}]bool{}}
	check(json.Unmarshal(text, &c.roster))

	listener, err := net.Listen("tcp", net.JoinHostPort(*address, "0"))
	check(err)
	c.server = &testcontrol.Server{
		Logf:            func(string, ...any) {},
		DERPMap:         derpMap(*address),
		ExplicitBaseURL: "http://" + listener.Addr().String(),
		MagicDNSDomain:  *domain,
		DNSConfig:       &tailcfg.DNSConfig{Proxied: true, Domains: []string{*domain}},
		AllOnline:       true,
		AltMapStream:    c.stream,
	}
	go func() { check(http.Serve(listener, c.server)) }()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /nodes", c.nodes)
	mux.HandleFunc("PUT /grants/{host}", c.grant)
	mux.HandleFunc("PUT /hosts/{host}", c.become)
	adminListener, err := net.Listen("unix", *admin)
	check(err)
	// The one line on stdout: where nodes log in.
	os.Stdout.WriteString(c.server.BaseURL() + "\n")
	check(http.Serve(adminListener, mux))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Every node, by host name, with its addresses.
func (c *control) nodes(w http.ResponseWriter, _ *http.Request) {
	nodes := map[string][]netip.Prefix{}
	for _, node := range c.server.AllNodes() {
		nodes[node.Hostinfo.Hostname()] = node.Addresses
	}
	json.NewEncoder(w).Encode(nodes)
}

// What a host is granted from now on.
func (c *control) grant(w http.ResponseWriter, r *http.Request) {
	var grants tailcfg.PeerCapMap
	if err := json.NewDecoder(r.Body).Decode(&grants); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.grants[r.PathValue("host")] = grants
	c.mu.Unlock()
	c.wake()
}

// Who a host is from now on.
func (c *control) become(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var who host
	if err == nil {
		err = json.Unmarshal(body, &who)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.roster[r.PathValue("host")] = who
	c.mu.Unlock()
	c.wake()
}

func (c *control) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for stream := range c.streams {
		select {
		case stream <- struct{}{}:
		default:
		}
	}
}

// Takes the place of the server's own streams, so that what it answers can be ours.
func (c *control) stream(ctx context.Context, w testcontrol.MapStreamWriter, req *tailcfg.MapRequest) {
	// tailcfg.MapRequest.Stream: from version 68 on a stream only reads.
	if !req.ReadOnly && !req.Stream {
		c.learn(req)
	}
	if !req.Stream {
		if res := c.answer(req); res != nil {
			w.SendMapMessage(res)
		}
		return
	}
	changed := make(chan struct{}, 1)
	c.mu.Lock()
	c.streams[changed] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.streams, changed)
		c.mu.Unlock()
	}()
	for {
		res := c.answer(req)
		if res == nil || w.SendMapMessage(res) != nil {
			return
		}
		for idle := true; idle; {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				idle = false
			case <-time.After(30 * time.Second):
				if w.SendMapMessage(&tailcfg.MapResponse{KeepAlive: true}) != nil {
					return
				}
			}
		}
	}
}

// What a node says about itself.
func (c *control) learn(req *tailcfg.MapRequest) {
	node := c.server.Node(req.NodeKey)
	if node == nil {
		return
	}
	node.DiscoKey = req.DiscoKey
	node.Cap = req.Version
	node.Endpoints = nil
	for _, endpoint := range req.Endpoints {
		if endpoint.Addr().Zone() == "" {
			node.Endpoints = append(node.Endpoints, endpoint)
		}
	}
	if req.Hostinfo != nil {
		node.Hostinfo = req.Hostinfo.View()
		if info := node.Hostinfo.NetInfo(); info.Valid() && info.PreferredDERP() != 0 {
			node.HomeDERP = info.PreferredDERP()
		}
	}
	c.server.UpdateNode(node)
	c.wake()
}

// The server's own answer, with our people and our grants.
func (c *control) answer(req *tailcfg.MapRequest) *tailcfg.MapResponse {
	res, err := c.server.MapResponse(req)
	if err != nil || res == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	profiles := map[tailcfg.UserID]tailcfg.UserProfile{
		taggedDevices: {ID: taggedDevices, LoginName: "tagged-devices", DisplayName: "Tagged Devices"},
	}
	filter := tailcfg.FilterAllowAll
	var ours []netip.Prefix
	for _, node := range append([]*tailcfg.Node{res.Node}, res.Peers...) {
		who := c.roster[node.Hostinfo.Hostname()]
		node.Tags, node.User, node.Sharer = who.Tags, who.User, who.Sharer
		if len(who.Tags) > 0 {
			node.User = taggedDevices
		} else {
			profiles[who.User] =
				tailcfg.UserProfile{ID: who.User, LoginName: who.Login, DisplayName: who.Display}
		}
		if node.Hostinfo.Hostname() == c.target {
			ours = node.Addresses
		}
	}
	for _, peer := range res.Peers {
		if grants := c.grants[peer.Hostinfo.Hostname()]; len(grants) > 0 {
			rule := tailcfg.FilterRule{CapGrant: []tailcfg.CapGrant{{Dsts: ours, CapMap: grants}}}
			for _, address := range peer.Addresses {
				rule.SrcIPs = append(rule.SrcIPs, address.Addr().String())
			}
			filter = append(filter[:len(filter):len(filter)], rule)
		}
	}
	res.PacketFilter = filter
	res.UserProfiles = nil
	for _, profile := range profiles {
		res.UserProfiles = append(res.UserProfiles, profile)
	}
	res.Node.CapMap = tailcfg.NodeCapMap{tailcfg.CapabilityHTTPS: nil}
	return res
}

// A relay and a STUN server on `address`, and the map that leads there.
func derpMap(address string) *tailcfg.DERPMap {
	relay := httptest.NewUnstartedServer(derpserver.Handler(
		derpserver.New(key.NewNode(), func(string, ...any) {})))
	relay.Listener.Close()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	check(err)
	relay.Listener = listener
	relay.Config.ErrorLog = log.New(io.Discard, "", 0)
	// The protocol takes the connection over, which HTTP/2 has no way for.
	relay.EnableHTTP2 = false
	relay.StartTLS()

	packets, err := net.ListenPacket("udp4", net.JoinHostPort(address, "0"))
	check(err)
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, from, err := packets.ReadFrom(buffer)
			check(err)
			if id, err := stun.ParseBindingRequest(buffer[:n]); err == nil {
				packets.WriteTo(stun.Response(id, from.(*net.UDPAddr).AddrPort()), from)
			}
		}
	}()
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{1: {
		RegionID:   1,
		RegionCode: "test",
		Nodes: []*tailcfg.DERPNode{{
			Name:             "1",
			RegionID:         1,
			HostName:         address,
			IPv4:             address,
			IPv6:             "none",
			STUNPort:         packets.LocalAddr().(*net.UDPAddr).Port,
			DERPPort:         listener.Addr().(*net.TCPAddr).Port,
			InsecureForTests: true,
		}},
	}}}
}
