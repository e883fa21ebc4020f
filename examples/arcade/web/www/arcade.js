// Talks to the arcade's REST API under /api: a token for the player, then requests that carry it.
const api = async (path, options = {}) => {
	const response = await fetch("/api" + path, options);
	const body = await response.json();
	if (!response.ok) throw new Error(body.error ?? response.statusText);
	return body;
};

const post = (path, body, token) => api(path, {
	method: "POST",
	headers: token ? { Authorization: "Bearer " + token } : {},
	body: JSON.stringify(body),
});

const show = (scores) => document.querySelector("#scores").replaceChildren(...scores.map((s) => {
	const item = document.createElement("li");
	item.textContent = `${s.player}: ${s.points}`;
	return item;
}));

const status = document.querySelector("#status");

document.querySelector("#play").addEventListener("submit", async (event) => {
	event.preventDefault();
	try {
		const { token } = await post("/token", { player: event.target.player.value });
		await post("/scores", { points: 10 }, token);
		show(await api("/scores", { headers: { Authorization: "Bearer " + token } }));
		status.textContent = "";
	} catch (err) {
		status.textContent = `The API does not answer: ${err.message}`;
	}
});

const { headers } = await fetch("/", { method: "HEAD", cache: "no-store" });
document.querySelector("#replica").textContent = `Replica ${headers.get("X-Replica") ?? "unknown"} answered.`;
