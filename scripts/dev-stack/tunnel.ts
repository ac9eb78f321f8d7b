export interface Tunnel {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Opens a public URL for the data plane's port, and for nothing else: management listens on another port, which has no
 * tunnel. No token, no tunnel. Throws an Error that names NGROK_AUTHTOKEN when ngrok refuses.
 */
export async function openTunnel(authtoken: string | undefined, dataPlaneUrl: string): Promise<Tunnel | undefined> {
  if (!authtoken) return undefined;
  const { forward } = await import("@ngrok/ngrok");
  try {
    const listener = await forward({ addr: dataPlaneUrl, authtoken });
    const url = listener.url();
    if (!url) throw new Error("ngrok gave no URL");
    return { url, close: () => listener.close() };
  } catch (error) {
    const reason = String((error as Error).message ?? error).replaceAll(authtoken, "[redacted]");
    throw new Error(`The tunnel could not be opened (NGROK_AUTHTOKEN is set): ${reason}. Unset it to work on this machine only.`, {
      cause: error,
    });
  }
}
