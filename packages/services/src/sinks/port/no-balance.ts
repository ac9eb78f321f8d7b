/** The code of an answer that took nothing, because the sink has nothing of the org to take from; what is owed waits until it has. */
export const NO_BALANCE = "no_balance";
